from __future__ import annotations

from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

from harmguard.checkpoint import load_student
from harmguard.cli import main
from harmguard.errors import CheckpointError, DataError, OutputExistsError
from harmguard.rows import read_rows
from harmguard.training.corpora import base, corpus, mini
from harmguard.training.distil.config import read_config
from harmguard.training.harmaug.label import label
from harmguard.training.harmaug.plan import read_plan
from tests.training import tiny


def test_rows_are_permissive_unique_and_hold_the_made_ones(data: Path) -> None:
    rows = [*chain(*mini.build_rows(data))]
    assert {row.licence for row in rows} == {"permissive"}
    plain = [row.pair for row in rows if row.id.split("/")[-1].isdigit()]
    assert len(plain) == len(set(plain))
    made = Counter(row.id.rsplit("/", 1)[1] for row in rows if not row.id[-1].isdigit())
    assert made["prompt"] == 40  # each pair's prompt once: 20 harmful, 20 benign
    assert made["refused"] == 380  # all harmful prompts, because there are fewer than wanted
    for row in rows:
        if row.id.endswith("/refused"):
            assert (row.label, row.kind) == (0, "exchange")
            assert row.response in corpus.REFUSALS
    hay = [row for row in rows if row.id.endswith("/long") and row.kind == "prompt"]
    assert all(row.id.removesuffix("/long").split("/")[0] in row.prompt for row in hay)
    assert all(len(row.prompt) > 100 for row in hay)


def test_it_is_the_same_every_time_and_not_what_base_learns_from(data: Path) -> None:
    assert mini.build_rows(data) == mini.build_rows(data)
    of_base = {row.pair for row in base.build_rows(data)}
    assert any(row.pair not in of_base for row in mini.build_rows(data)[1])


def test_pairs_without_a_label_are_those_of_permissive_publishers(data: Path) -> None:
    rows = mini.unlabelled_rows(data)
    assert Counter(row.source for row in rows) == {"hh_harmless_test": 4, "aisafetylab_demo": 2}
    assert {(row.label, row.licence, row.kind) for row in rows} == {
        (None, "permissive", "exchange")
    }


def test_long_texts_are_cut_at_a_space_and_stay_non_empty(data: Path) -> None:
    for row in chain(*mini.build_rows(data)):
        assert row.prompt
        assert row.response is None or row.response
        if row.source == "long" and row.id[-1].isdigit():
            text = row.response or ""
            assert text == "word " * 900 + " 0" or (len(text) < 1000 and text.endswith("word"))


def test_writes_everything_that_training_needs(
    data: Path, tmp_path: Path, word_bundle: Path
) -> None:
    backbone = tiny.student(tmp_path / "backbone", "bert")
    out = tmp_path / "out"
    rows = mini.write(data, out, backbone, word_bundle)
    names = ("train.jsonl", "unlabelled.jsonl", "made.jsonl")
    counts = [len(read_rows(out / name)) for name in names]
    assert rows == sum(counts)
    config = read_config(out / "distill.toml")
    assert config.student.path == str(out / "student")
    assert config.card["licence"] == "Apache-2.0"
    plan = read_plan(str(out / "label.toml"), stages=["label"])
    labelled = label(plan, [out / name for name in names[:2]], tmp_path / "label")
    assert labelled["summary"]["labelled"] == sum(counts[:2])
    assert [Path(name).resolve() for name in config.data.train] == [
        tmp_path / "label" / "rows.jsonl",
        out / "made.jsonl",
    ]
    start = load_student(config.student.path, 64)
    assert start.model.get_submodule("classifier").out_features == 2
    with pytest.raises(OutputExistsError, match="out' exists; expected a new path"):
        mini.write(data, out, backbone, word_bundle)


def test_errors(tmp_path: Path) -> None:
    start = tiny.student(tmp_path / "start", "bert")
    with pytest.raises(DataError, match="no data folder absent"):
        mini.write(tmp_path / "absent", tmp_path / "out", start, tmp_path)
    with pytest.raises(DataError, match=r"no data file named train.jsonl.gz"):
        mini.write(tmp_path, tmp_path / "out", start, tmp_path)
    (start / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"start has no tokenizer\.json; expected the check"):
        mini.write(tmp_path, tmp_path / "out", start, tmp_path)
    assert not (tmp_path / "out").exists()
    assert main(["train", "mini", str(tmp_path)]) == 2
