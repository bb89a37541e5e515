"""peers on a tiny checkpoint: what runs is measured, what does not is named."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import cast

import pytest

from benchmarks.harness.errors import EnvironmentMissingError, WorkerError
from benchmarks.harness.results import Run
from benchmarks.performance import peers
from benchmarks.runtimes import environments
from benchmarks.runtimes import models as made_once
from benchmarks.runtimes.environments import Cost, Environment
from benchmarks.runtimes.models import Models, Ready
from benchmarks.runtimes.pool import Worker
from harmguard.bench.memory import Memory
from harmguard.bundle import EMBEDDED
from harmguard.errors import MemoryUnreadableError

MADE: Cost = {"seconds": 3.0, "load_average": None}


@pytest.fixture(scope="module")
def english_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random 2-layer BERT with the embedded guard's tokenizer, which knows common words."""
    pytest.importorskip("torch")
    from transformers import PreTrainedTokenizerFast

    from tests.training import tiny

    fast = PreTrainedTokenizerFast(
        tokenizer_file=str(EMBEDDED / "tokenizer.json"),
        model_max_length=64,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
    )
    return tiny.student(tmp_path_factory.mktemp("english") / "bert", "bert", fast)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all runs: what the first has converted is there for the others."""
    return tmp_path_factory.mktemp("peers")


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """This interpreter stands for the environments that it could be; the others fail."""
    asked: list[str] = []

    def make(name: str, folder: Path) -> Environment:
        asked.append(name)
        if name in ("harmguard", "torch"):
            return Environment(sys.executable, 12.5, MADE)
        if name == "openvino":  # there, and yet without its package
            return Environment(sys.executable, 1.0, MADE)
        raise EnvironmentMissingError(f"{name}: pip could not install it: no such package")

    monkeypatch.setattr(environments, "make", make)
    return asked


def test_a_quick_run(
    tries: list[str],
    english_checkpoint: Path,
    small_bundle: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(made_once, "EMBEDDED", small_bundle)
    monkeypatch.setattr(peers, "QUICK_LENGTHS", (16, 32))
    monkeypatch.setattr(peers, "ANCHOR", "harmguard fp32")
    out = tmp_path / "peers.json"
    only = ["harmguard fp32", "torch", "openvino fp32", "litert"]
    arguments = ["mini", "--checkpoint", str(english_checkpoint), "--quick", "--out", str(out)]
    arguments += ["--cache", str(cache), "--only", *only]
    assert peers.COMMAND.main([*arguments, "--prepare"]) == 0
    assert "litert: litert: pip could not install it: no such package" in capsys.readouterr().out
    assert not out.exists()
    before = len(tries)
    assert peers.COMMAND.main(arguments) == 0
    assert tries[before:] == ["harmguard", "torch"]  # what failed is not tried again
    found = json.loads(out.read_text(encoding="utf-8"))
    assert set(found["rows"]) == {"harmguard fp32", "torch"}
    assert found["weights"] == "given"
    assert found["missing"]["litert"] == "litert: pip could not install it: no such package"
    assert re.match(
        r"openvino_fp32: 'convert' failed: ModuleNotFo", found["missing"]["openvino fp32"]
    )
    for row in found["rows"].values():
        assert set(row["ms"]) == set(row["times_anchor"]) == {"16", "32"}
        assert row["one_time"]["install"] == MADE
    assert found["rows"]["torch"]["bundle"] is None
    assert found["rows"]["harmguard fp32"]["bundle"]["recipe"] == "fp32"
    assert found["rows"]["torch"]["score_error"]["16"] == {"mean": 0, "max": 0, "model_logit": 0}
    assert found["rows"]["harmguard fp32"]["times_anchor"]["16"]["fastest"] == 1
    assert not list(tmp_path.glob("*.partial.json"))
    text = capsys.readouterr().out
    assert "- LiteRT fp32: `litert: pip could not install it: no such package`" in text


def test_a_failure_is_kept_until_it_is_tried_again(
    tries: list[str], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    models, peer = Models(tmp_path, "mini", tiny_checkpoint, 1), made_once.PEERS["litert"]
    for retry in (False, False, True):
        with pytest.raises((EnvironmentMissingError, WorkerError), match="no such package"):
            models.ready("litert", peer, retry=retry)
    assert tries == ["litert", "litert"]


def test_another_clone_converts_nothing_again(
    tries: list[str], tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, peer = Models(tmp_path / "cache", "mini", tiny_checkpoint, 1), made_once.PEERS["torch"]
    first = models.ready("torch", peer, retry=False)
    (stamp,) = (tmp_path / "cache").rglob("torch-None.json")
    kept = json.loads(stamp.read_text(encoding="utf-8"))
    cost = {"seconds": 77.0, "load_average": None}
    stamp.write_text(json.dumps({**kept, "made": cost}), encoding="utf-8")
    elsewhere = tmp_path / "clone" / "mini"
    shutil.copytree(EMBEDDED, elsewhere)
    monkeypatch.setattr(made_once, "EMBEDDED", elsewhere)
    again = models.ready("torch", peer, retry=False)
    assert again.settings["bundle"] == str(elsewhere)
    assert (again.files, again.converted) == (first.files, cost)


def test_a_worker_that_dies_leaves_the_others_and_what_it_measured(
    tries: list[str],
    english_checkpoint: Path,
    small_bundle: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(made_once, "EMBEDDED", small_bundle)
    monkeypatch.setattr(peers, "QUICK_LENGTHS", (16, 32))
    measure = peers.Comparison._measure
    kept: list[set[str]] = []

    def kill_before_the_second(self: peers.Comparison, tokens: int, *, check: bool) -> None:
        if tokens == 32:
            kept.extend(
                set(json.loads(path.read_text())["rows"])
                for path in tmp_path.glob("peers.partial.json")
            )
            self._workers["harmguard fp32"]._process.kill()
        measure(self, tokens, check=check)

    monkeypatch.setattr(peers.Comparison, "_measure", kill_before_the_second)
    out = tmp_path / "peers.json"
    arguments = ["mini", "--checkpoint", str(english_checkpoint), "--quick", "--out", str(out)]
    arguments += ["--cache", str(cache), "--only", "torch", "harmguard fp32"]
    assert peers.COMMAND.main(arguments) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    assert kept == [{"torch", "harmguard fp32"}]
    assert set(found["rows"]["torch"]["ms"]) == {"16", "32"}
    assert set(found["rows"]["harmguard fp32"]["ms"]) == {"16"}
    (reason,) = found["missing"].values()
    assert "harmguard: its process ended during 'pairs' with exit status -9 (SIGKILL)" in reason


def test_memory_that_may_not_be_read_is_unknown_with_its_reason() -> None:
    class Refused:
        def memory(self) -> Memory:
            raise MemoryUnreadableError("no permission to read /proc/7/status")

    memory, refused = peers._memory(cast(Worker, Refused()))
    assert memory["anonymous"] is None
    assert refused == "no permission to read /proc/7/status"


def test_large_guards_run_in_groups_with_the_anchor_in_each(tmp_path: Path) -> None:
    options = peers.COMMAND.parser().parse_args(["435m", "--cache", str(tmp_path)])
    run = peers.Comparison(Run("peers-435m", options))
    run._ready = dict.fromkeys(made_once.PEERS, cast(Ready, None))
    groups = list(run._groups())
    assert [group[0] for group in groups] == ["harmguard int8"] * 3
    assert groups[0][1] == "torch"
    others = [name for group in groups for name in group[1:]]
    assert sorted([*others, "harmguard int8"]) == sorted(made_once.PEERS)


def test_an_environment_s_stamp_names_no_place() -> None:
    assert "harmguard, this checkout\n" in environments.made_from("harmguard")


def test_pip_s_reason_is_its_error() -> None:
    stderr = "WARNING: a\nERROR: No matching distribution found for nonesuch\nnotice: b\n"
    assert environments.reason("x", stderr).endswith("No matching distribution found for nonesuch")
    stderr = "ERROR: Failed to build x\nnote: This error originates from a subprocess\n"
    assert environments.reason("x", stderr).endswith("ERROR: Failed to build x")
    assert environments.reason("x", "") == "x: pip could not install it: no message"


def test_installed_size_leaves_pip_out(tmp_path: Path) -> None:
    site = tmp_path / "lib" / "python3" / "site-packages"
    for name, size in (("pip/a", 5000), ("pip-1.dist-info/b", 5000), ("numpy/c", 200_000)):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_bytes(b"x" * size)
    assert environments.installed_mb(tmp_path) == 0.2


def test_every_peer_has_a_title_a_runtime_and_an_environment() -> None:
    from benchmarks.runtimes.backends import BACKENDS
    from benchmarks.runtimes.converted import PEER_BACKENDS

    assert len({peer.title for peer in made_once.PEERS.values()}) == len(made_once.PEERS)
    for peer in made_once.PEERS.values():
        assert peer.runtime in {**BACKENDS, **PEER_BACKENDS}
        assert peer.environment in environments.REQUIREMENTS


def test_an_environment_without_venv_or_a_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise subprocess.CalledProcessError(1, "ensurepip")

    with monkeypatch.context() as patched:
        patched.setattr(venv, "create", fail)
        with pytest.raises(EnvironmentMissingError, match=r"llama: no virtual .*CalledProcessErr"):
            environments.make("llama", tmp_path)
    log = tmp_path / "llama.log"
    monkeypatch.setitem(environments.REQUIREMENTS, "llama", ["./no-such-folder"])
    with pytest.raises(EnvironmentMissingError, match=r"ERROR: .*\(all of it: llama\.log\)"):
        environments._install("llama", Path(sys.executable), log)
    assert "no-such-folder" in log.read_text(encoding="utf-8")


def test_a_peer_that_computes_something_else_is_missing(
    tries: list[str], english_checkpoint: Path, small_bundle: Path, cache: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(made_once, "EMBEDDED", small_bundle)
    monkeypatch.setattr(peers, "QUICK_LENGTHS", (16,))
    ask = peers.Comparison._ask

    def wrong(self: peers.Comparison, name: str, call: str, **arguments: object) -> object:
        found = ask(self, name, call, **arguments)
        if (name, call) == ("harmguard fp32", "scores"):
            return [score + 0.3 for score in found]
        return found

    monkeypatch.setattr(peers.Comparison, "_ask", wrong)
    out = tmp_path / "peers.json"
    arguments = ["mini", "--checkpoint", str(english_checkpoint), "--quick", "--out", str(out)]
    arguments += ["--cache", str(cache), "--only", "torch", "harmguard fp32"]
    assert peers.COMMAND.main(arguments) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    assert re.match(
        r"harmguard fp32: scores are 0\.\d+ \(mean\) and 0\.\d+ \(most\)",
        found["missing"]["harmguard fp32"],
    )
    assert found["rows"]["harmguard fp32"]["ms"] == {}


def test_harmguard_alone_is_timed(
    tries: list[str],
    english_checkpoint: Path,
    small_bundle: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(made_once, "EMBEDDED", small_bundle)
    monkeypatch.setattr(peers, "QUICK_LENGTHS", (16,))
    monkeypatch.setattr(peers, "ANCHOR", "harmguard fp32")
    out = tmp_path / "peers.json"
    arguments = ["mini", "--checkpoint", str(english_checkpoint), "--quick", "--out", str(out)]
    arguments += ["--cache", str(cache), "--only", "harmguard fp32"]
    assert peers.COMMAND.main(arguments) == 0
    row = json.loads(out.read_text(encoding="utf-8"))["rows"]["harmguard fp32"]
    assert row["ms"]["16"]["n"] > 0
    assert row["prepared_mb"] > 0
    assert row["one_time"]["export"]["seconds"] > 0
    assert "none without torch, which is missing" in capsys.readouterr().out
