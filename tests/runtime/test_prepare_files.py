"""What a prepared copy holds: mapped weights, shared ones, and the tokenizer."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harmguard import (
    HarmGuard,
)
from harmguard.bundle import open_bundle, write_bundle
from harmguard.cli import main
from harmguard.core.encode import Template
from harmguard.prepared import prepare as prepared
from harmguard.prepared import unigram as mapped_unigram
from harmguard.prepared.place import OWN
from harmguard.prepared.unigram import FILES, MappedUnigram

from . import pieces
from .conftest import MINI, attention_graph, manifest
from .preparing import SCORE, TEXT, copies, expected, flip, found, run


@pytest.fixture
def folder(external_bundle: Path) -> Path:
    return external_bundle


MAPPED = (
    SCORE
    + """
    from pathlib import Path
    lines = Path("/proc/self/status").read_text().splitlines()
    anonymous = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024
    print(Path("/proc/self/maps").read_text().count(str(guard.prepared)), anonymous)
"""
)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no procfs")
def test_packed_weights_are_mapped(cache: Path) -> None:
    if not (MINI / "guard.json").is_file():
        pytest.skip("no embedded guard in this checkout")
    prepared.prepare(open_bundle(MINI), cache)
    model = (cache / OWN / copies(cache)[0] / "model.onnx").read_bytes()
    assert model.count(b"prepacked_0") > 10
    lines = run(MAPPED, MINI, cache).splitlines()
    pieces, anonymous = map(float, lines[1].split())
    assert pieces > 10
    assert anonymous < 45


def test_no_file_of_the_copy_is_a_file_of_the_bundle(external_bundle: Path, cache: Path) -> None:
    """What is written into the bundle's files in place must not reach a running guard."""
    copy = prepared.prepare(open_bundle(external_bundle), cache)
    assert all(path.stat().st_nlink == 1 for path in copy.folder.iterdir())
    score = expected(external_bundle)
    with HarmGuard(external_bundle, threads=1, cache=cache) as guard:
        flip(external_bundle / "model.onnx.data")
        assert guard.score(TEXT, "please") == score
        flip(external_bundle / "model.onnx.data")


def test_a_cache_on_another_disk(tmpfs: Callable[[str], Path]) -> None:
    if not (MINI / "guard.json").is_file():
        pytest.skip("no embedded guard in this checkout")
    cache = tmpfs("size=90m")
    assert found(MINI, cache) == expected(MINI)
    folder = cache / OWN / copies(cache)[0]
    assert sorted(os.listdir(folder)) == ["model.onnx", "model.onnx.data", "prepared.json"]


# The tokenizer


def unigram_bundle(small_bundle: Path, out: Path, count: int) -> Path:
    """A bundle with a Unigram tokenizer of `count` pieces."""
    tokenizer = pieces.tokenizer(count)
    graph = attention_graph(tokenizer.get_vocab_size())
    files: dict[str, Path | bytes] = {
        "model.onnx": graph.SerializeToString(),
        "tokenizer.json": tokenizer.to_str().encode(),
        "golden.jsonl": small_bundle / "golden.jsonl",
    }
    return write_bundle(out, manifest(Template.from_tokenizer(tokenizer)), files)


@pytest.fixture(scope="module")
def unigram(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unigram_bundle(small_bundle, tmp_path_factory.mktemp("unigram") / "guard", 1000)


def test_a_unigram_tokenizer_is_mapped(
    unigram: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", str(unigram), "--cache", str(cache)]) == 0
    assert "tokenizer  mapped\n" in capsys.readouterr().out
    assert main(["info", str(unigram), "--cache", str(cache)]) == 0
    assert "bytes, tokenizer mapped\n" in capsys.readouterr().out
    pairs = [("bread [SEP] \u2603", None), ("How do I bake bread?", ""), ("ba be bi " * 90, "x")]
    with HarmGuard(unigram, threads=1, cache=cache) as guard:
        assert guard._encoder._tokenizer.__class__ is MappedUnigram
        with HarmGuard(unigram, threads=1) as plain:
            assert guard.check_many(pairs) == plain.check_many(pairs)
    flip(cache / OWN / copies(cache)[0] / "pieces.npy")
    assert found(unigram, cache) == expected(unigram)


def test_another_tokenizer_is_held_in_memory(
    folder: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", str(folder), "--cache", str(cache)]) == 0
    reason = "its model is WordPiece; only Unigram can be mapped"
    assert f"tokenizer  held in memory: {reason}\n" in capsys.readouterr().out
    assert main(["info", str(folder), "--cache", str(cache)]) == 0
    assert "bytes, tokenizer not mapped\n" in capsys.readouterr().out
    assert prepared.find(open_bundle(folder), cache).tokenizer() is None


def test_a_tokenizer_with_other_ids_is_not_used(
    unigram: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the library had other rules: an unknown character would beat known ones."""
    monkeypatch.setattr(mapped_unigram, "UNKNOWN_PENALTY", -90.0)
    assert found(unigram, cache) == expected(unigram)
    copy = prepared.find(open_bundle(unigram), cache)
    assert copy.unmapped is not None
    assert copy.unmapped.startswith("its ids differ from those of tokenizers on trial")
    assert not [name for name in FILES if (copy.folder / name).exists()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no procfs")
def test_a_full_vocabulary_takes_little_memory(
    small_bundle: Path, tmp_path: Path, cache: Path
) -> None:
    large = unigram_bundle(small_bundle, tmp_path / "large", 128_100)
    held = float(run(MAPPED.replace("cache=sys.argv[2]", ""), large, cache).split()[-1])
    prepared.prepare(open_bundle(large), cache)
    mapped = float(run(MAPPED, large, cache).split()[-1])
    assert mapped < 50
    assert held > mapped + 50
