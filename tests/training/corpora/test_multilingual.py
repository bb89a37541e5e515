from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from harmguard.errors import OutputExistsError
from harmguard.rows import read_rows
from harmguard.training.corpora import e5, multilingual
from harmguard.training.distil.config import read_config
from harmguard.training.harmaug.plan import read_plan
from tests.training.corpora import tiny_e5


def test_benign_prompts_are_in_proportion_and_comments_few(data: Path) -> None:
    rows = multilingual.other_rows(data)
    counts = Counter((r.source, r.lang, r.kind, r.label) for r in rows)
    assert counts == {
        ("jade", "zh", "prompt", 1): 20,
        ("everyday", "zh", "prompt", 0): 36,  # half as many again as harmful ones
        ("mhc", "de", "prompt", 1): multilingual.CAPS["mhc"],
        ("cold_zh", "zh", "prompt", 1): 4,
        ("pairs", "zh", "exchange", 0): 9,
    }
    assert {r.tier for r in rows if r.source == "cold_zh"} == {"C"}
    assert multilingual.other_rows(data) == rows


def test_the_folder_has_rows_student_and_configs(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(e5, "packaged_file", lambda: tiny_e5.write(tmp_path / "e5.bin"))
    out = tmp_path / "out"
    count = multilingual.write(data, out, tmp_path / "teacher")
    names = ("train.jsonl", "made.jsonl", "other.jsonl")
    assert count == sum(len(read_rows(out / name)) for name in names)
    assert {row.lang for row in read_rows(out / "other.jsonl")} == {"zh", "de"}
    config = read_config(out / "distill.toml")
    assert [Path(name).name for name in config.data.train] == ["rows.jsonl", *names[1:]]
    plan = read_plan(str(out / "label.toml"), stages=["label"])
    assert Path(plan.label.model.path) == tmp_path / "teacher"
    assert (out / "student" / "model.safetensors").is_file()
    with pytest.raises(OutputExistsError):
        multilingual.write(data, out, tmp_path / "teacher")
