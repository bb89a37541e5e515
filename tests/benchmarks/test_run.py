"""python -m benchmarks: what it runs, what each part takes, and what stops it."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import run as whole
from benchmarks.harness.command import command, command_of, commands
from benchmarks.harness.errors import BenchmarkDataError, WorkerError
from benchmarks.harness.results import ROOT
from benchmarks.run import LIMIT_S, QUICK_LIMIT_S, Part
from benchmarks.runtimes.models import Models


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints and bundles are names here: what makes them has tests of its own."""
    monkeypatch.delenv("HARMGUARD_DATA", raising=False)
    monkeypatch.setattr(Models, "checkpoint", lambda self: Path("made"))
    monkeypatch.setattr(Models, "bundle", lambda self, recipe: Path(f"bundle-{recipe}"))


def options(tmp_path: Path, *arguments: str) -> argparse.Namespace:
    return whole.COMMAND.parser().parse_args(["--cache", str(tmp_path), *arguments])


def names(parts: list[Part]) -> list[str]:
    return [part.name for part in parts]


def test_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = ["startup", "peers-mini", "peers-435m", "scaling", "speed", "bulk"]
    assert names(whole.parts(options(tmp_path))) == every
    quick = whole.parts(options(tmp_path, "--quick"))
    assert names(quick) == ["startup", "peers-mini", "scaling", "speed", "bulk"]
    assert all("--quick" in part.command for part in quick)
    monkeypatch.setenv("HARMGUARD_DATA", "data")
    found = whole.parts(options(tmp_path))
    assert names(found) == [*every, "longtext"]
    for part in [*found, whole.REPORT]:
        assert part.command[0] == "benchmarks"
        assert part.command[1] in commands()
    for planned, limit in ((found, LIMIT_S), (quick, QUICK_LIMIT_S)):
        assert sum(part.planned_s for part in planned) <= limit
    assert (LIMIT_S, QUICK_LIMIT_S) == (3600, 300)


def test_every_command_has_a_name_of_its_own_and_says_what_it_does() -> None:
    named = list(commands().values())
    assert len(named) == len({module.rpartition(".")[2] for module in named}) > 25
    for name in ("speed", "bulk", "startup", "report", "compare", "run", "counts", "longtext"):
        found = command(name)
        assert found.name == name
        assert f"python -m benchmarks {name if name != 'run' else ''}".strip() in str(found.about)


def test_a_result_belongs_to_the_command_of_its_name() -> None:
    assert command_of("peers-435m").name == "peers"
    assert command_of("speed").name == "speed"
    for name in ("speed.quick", "peers-mini.partial", "nonesuch"):
        assert command_of(name) is None


def test_one_command_by_name(capfd: pytest.CaptureFixture[str]) -> None:
    module = [sys.executable, "-m", "benchmarks"]
    done = subprocess.run([*module, "compare", "no", "where"], cwd=ROOT, check=False)
    assert done.returncode == 3
    assert "BenchmarkDataError: no and where have no ratio in common" in capfd.readouterr().err


def test_results_elsewhere_leave_the_pages(tmp_path: Path) -> None:
    folder = tmp_path / "first"
    found = whole.parts(options(tmp_path, "--results", str(folder)))
    for part in found:
        assert part.command[-2:] == ["--out", str(folder / f"{part.name}.json")]


def test_a_failure_and_the_limit_are_named_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "a_part_that_fails.py"
    broken.write_text("raise SystemExit(3)")
    (tmp_path / "a_part_that_sleeps.py").write_text("import time\ntime.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(whole, "prepare", lambda options: None)
    monkeypatch.setattr(whole, "QUICK_LIMIT_S", 1.5)
    names = {"fails": "a_part_that_fails", "sleeps": "a_part_that_sleeps", "late": "json"}
    made = [Part(name, [module], 1) for name, module in names.items()]
    made.append(Part("refused", ["json"], 1, "no checkpoint"))
    monkeypatch.setattr(whole, "parts", lambda options: made)
    results = tmp_path / "results"
    arguments = ["--quick", "--cache", str(tmp_path), "--results", str(results)]
    assert whole.COMMAND.main(arguments) == 3
    err = "".join(capsys.readouterr())
    found = json.loads((results / "run.quick.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in found["parts"]] == [part.name for part in made]
    assert found["parts"][0]["ended"] == "exit status 3"
    assert found["limit_s"] == 1.5 <= found["took_s"]
    assert "not begun: no checkpoint" in err
    assert "exit status 3" in err
    assert "stopped: the time was over" in err
    assert "not begun: the time was over" in err
    assert "failed: fails, sleeps, late, refused" in err
    assert sys.executable not in err


def test_without_a_checkpoint_what_needs_none_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Models) -> Path:
        raise WorkerError("mini-rebuilt could not be made: no room")

    monkeypatch.setattr(Models, "checkpoint", fail)
    refused = {part.name: part.refused for part in whole.parts(options(tmp_path))}
    assert {name for name, why in refused.items() if why} == {"peers-mini", "speed", "bulk"}
    assert refused["speed"] == "mini-rebuilt could not be made: no room"


def test_a_checkpoint_that_is_none_is_named_first(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkDataError, match=r"nowhere has no config\.json; expected a"):
        whole.COMMAND.main(["--checkpoint", str(tmp_path / "nowhere"), "--cache", str(tmp_path)])


def test_the_report_is_made_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(whole, "prepare", lambda options: None)
    monkeypatch.setattr(whole, "LIMIT_S", 0)
    monkeypatch.setattr(whole, "parts", lambda options: [Part("late", ["json"], 1)])
    run = whole._run

    def noted(part: Part, left_s: float) -> str:
        asked.append(part.name)
        return run(part, left_s) if part.name == "late" else ""

    monkeypatch.setattr(whole, "_run", noted)
    out = ["--out", str(tmp_path / "run.json")]
    assert whole.COMMAND.main(["--cache", str(tmp_path), *out]) == 3
    assert asked == ["late", "report"]
    found = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert found["parts"][0]["ended"] == "not begun: the time was over"
