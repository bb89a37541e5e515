from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from harmguard.errors import ConfigError
from harmguard.rows import Row
from harmguard.training.distil.config import read_config
from harmguard.training.distil.distill import distill
from harmguard.training.distil.run_folder import (
    LANGUAGE_ROWS,
    languages_of,
    last_whole,
    scripts_read,
)
from tests import processes
from tests.training import tiny


def test_a_run_s_folder_is_not_taken_over_by_another_config(tmp_path: Path) -> None:
    config = tiny.distillation(tmp_path, "bert", rows=32)
    distill(config, tmp_path / "run")
    other = replace(config, optim=replace(config.optim, lr=1.0))
    with pytest.raises(ConfigError, match="run holds a run with another config"):
        distill(other, tmp_path / "run")
    tiny.row_file(Path(config.data.train[0]), 33)
    with pytest.raises(ConfigError, match="another data_sha256"):
        distill(config, tmp_path / "run")


def test_a_run_is_known_by_its_files_wherever_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    distill(tiny.distillation(folder, "bert", rows=32), folder / "run")
    moved = folder.rename(tmp_path / "b")
    monkeypatch.chdir(moved)
    weights = moved / "run" / "student" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    config = tiny.distillation(moved, "bert", rows=32)
    relative = replace(
        config,
        student=replace(config.student, path="student-bert"),
        data=replace(config.data, train=["rows32.jsonl"]),
    )
    for same, out in ((config, moved / "run"), (relative, Path("run"))):
        assert distill(same, out).resolve() == weights.parent
        assert weights.stat().st_mtime_ns == before
    # Another student in the same place is another run.
    config_file = moved / "student-bert" / "config.json"
    config_file.write_text(config_file.read_text() + "\n")
    with pytest.raises(ConfigError, match="run holds a run with another student"):
        distill(config, moved / "run")
    # What a finished run began from is not needed any more.
    shutil.rmtree(moved / "student-bert")
    assert distill(config, moved / "run") == weights.parent


FULL = """
import resource, sys
from pathlib import Path
from harmguard.errors import StageError
from harmguard.training.distil.config import read_config
from harmguard.training.distil.distill import distill
config = read_config(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    distill(config, Path(sys.argv[2]))
except StageError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("what", "minutes", "limit"),
    [
        ("run", 9.0, 100),  # run.json
        ("a checkpoint", 0.0, 20_000),  # the weights, by safetensors
        ("a checkpoint", 0.0, 120_000),  # the optimizer's state, by torch
        ("run/student", 9.0, 20_000),
    ],
)
def test_a_full_disk_is_named(tmp_path: Path, what: str, minutes: float, limit: int) -> None:
    config, out = tiny.config_file(tmp_path, epochs=1, save_minutes=minutes), tmp_path / "run"
    done = processes.run(["-c", FULL, config, out, str(limit)])
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"{what} cannot be written (" in done.stdout
    assert "likely the disk or the quota is full" in done.stdout
    assert not list(out.glob(".*.part"))
    # With room, the same command ends as it should.
    assert distill(read_config(config), out) == out / "student"


def test_only_a_whole_checkpoint_counts_and_the_others_go(tmp_path: Path) -> None:
    assert last_whole(tmp_path / "none") is None
    for step, whole in ((9, True), (10, True), (11, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if whole:
            (tmp_path / f"checkpoint-{step}" / "complete").touch()
    assert last_whole(tmp_path) == str(tmp_path / "checkpoint-10")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-9"]


def test_the_languages_of_the_rows_are_counted_with_the_sources_of_harm() -> None:
    rows = [
        Row("1", "a", None, 1, source="x", lang="de"),
        Row("2", "b", None, 1, source="y", lang="de"),
        Row("3", "c", None, None, soft=0.7, source="x", lang="fr"),
        Row("4", "d", None, 0, source="x", lang="fr"),
        Row("5", "e", None, 1, source="x", lang="it", weight=0.0),
        Row("6", "f", None, 0),
    ]
    assert languages_of(rows) == [
        {"lang": "", "rows": 1, "harmful": 0, "harmful_sources": []},
        {"lang": "de", "rows": 2, "harmful": 2, "harmful_sources": ["x", "y"]},
        {"lang": "fr", "rows": 2, "harmful": 1, "harmful_sources": ["x"]},
    ]
    assert languages_of(rows[-1:]) == [], "nobody said"


def test_a_script_counts_that_a_language_of_many_rows_is_written_in() -> None:
    long = [Row("en", "bread " * 10_000, None, 0, lang="en")]
    thai = [Row(str(i), "\u0e02\u0e19\u0e21", None, 0, lang="th") for i in range(LANGUAGE_ROWS)]
    assert scripts_read(long + thai) == ["Latn", "Thai"]
    assert scripts_read(long + thai[1:]) == ["Latn"], "too few to have learnt from"
    assert scripts_read(thai[:1]) == ["Thai"], "all there is"
