"""Prepared copies: made, shared, damaged, interrupted, and impossible."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
from onnx import helper

from harmguard import (
    BundleFileError,
    HarmGuard,
    PrepareError,
    UnpreparedWarning,
    _prepare,
    _unigram,
    bundle,
)
from harmguard._encode import Template
from harmguard._unigram import FILES
from harmguard.bundle import open_bundle, write_bundle
from harmguard.cli import main

from . import pieces
from .conftest import MINI, attention_graph, manifest

BundleMaker = Callable[..., Path]
TEXT = "how to make bread"

SCORE = """
import sys
from harmguard import HarmGuard
with HarmGuard(sys.argv[1], threads=1, cache=sys.argv[2]) as guard:
    assert guard.unprepared is None, guard.unprepared
    print(guard.prepared, guard.score("how to make bread"))
"""


@pytest.fixture(scope="module")
def folder(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small_bundle` with its weights beside the graph, as large bundles have them."""
    graph = onnx.load(small_bundle / "model.onnx")
    place = tmp_path_factory.mktemp("external")
    onnx.save(
        graph, place / "model.onnx", save_as_external_data=True, location="model.onnx.data",
        size_threshold=1000,
    )  # fmt: skip
    fields = open_bundle(small_bundle).manifest.to_json()
    names = fields.pop("files")
    files = {name: small_bundle / name for name in names if name != "model.onnx"}
    files |= {name: place / name for name in ("model.onnx", "model.onnx.data")}
    return write_bundle(place / "guard", fields, files)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a file system of its own: root is stopped by no permission, but by a mount."""
    place = tmp_path / "mounted"
    place.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("this user may not mount")
        return place

    yield mount
    subprocess.run(["umount", str(place)], capture_output=True, check=False)


def expected(folder: Path) -> float:
    with HarmGuard(folder, threads=1) as guard:
        return guard.score(TEXT, "please")


def found(folder: Path, cache: Path) -> float:
    """The score of a guard that runs from the copy in `cache`."""
    with HarmGuard(folder, threads=1, cache=cache) as guard:
        assert guard.unprepared is None
        assert guard.prepared is not None
        assert guard.prepared.parent == cache
        return guard.score(TEXT, "please")


def without_copy(folder: Path, cache: Path, match: str) -> str:
    """Check that a guard warns, runs all the same, and says why; return the reason."""
    with pytest.warns(UnpreparedWarning, match=match):
        guard = HarmGuard(folder, threads=1, cache=cache)
    with guard:
        assert guard.prepared is None
        assert guard.unprepared is not None
        assert guard.score(TEXT, "please") == expected(folder)
        return guard.unprepared


def copies(cache: Path) -> list[str]:
    """What is in a cache, its lock not counted."""
    return sorted(path.name for path in cache.iterdir() if path.name != ".lock")


# Made once, used from then on


def test_a_guard_makes_its_copy_and_gives_the_same_scores(any_bundle: Path, cache: Path) -> None:
    assert found(any_bundle, cache) == expected(any_bundle)
    (name,) = copies(cache)
    record = cache / name / _prepare.RECORD
    before = record.stat()
    assert found(any_bundle, cache) == expected(any_bundle)
    assert record.stat().st_ino == before.st_ino, "a second guard must not write again"


def test_without_a_cache_there_is_nothing_to_say(folder: Path) -> None:
    with HarmGuard(folder, threads=1) as guard:
        assert guard.prepared is None
        assert guard.unprepared is None


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
    _prepare.prepare(open_bundle(MINI), cache)
    model = (cache / copies(cache)[0] / "model.onnx").read_bytes()
    assert model.count(b"prepacked_0") > 10
    lines = run(MAPPED, MINI, cache).splitlines()
    pieces, anonymous = map(float, lines[1].split())
    assert pieces > 10
    assert anonymous < 45


def run(code: str, *arguments: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_weights_that_are_not_packed_are_the_bundles_own(cache: Path) -> None:
    if not (MINI / "guard.json").is_file():
        pytest.skip("no embedded guard in this checkout")
    copy = _prepare.prepare(open_bundle(MINI), cache)
    shared, data = copy.folder / "bundle.model.onnx.data", copy.folder / "model.onnx.data"
    if not shared.exists():
        pytest.skip("the checkout and the cache are on different file systems")
    assert shared.stat().st_ino == (MINI / "model.onnx.data").stat().st_ino
    assert copy.bytes < data.stat().st_size - 10_000_000
    shared.unlink()
    with pytest.raises(PrepareError, match="data is missing"):
        _prepare.find(open_bundle(MINI), cache)
    assert found(MINI, cache) == expected(MINI)


def test_a_cache_on_another_disk(tmpfs: Callable[[str], Path]) -> None:
    if not (MINI / "guard.json").is_file():
        pytest.skip("no embedded guard in this checkout")
    cache = tmpfs("size=90m")
    assert found(MINI, cache) == expected(MINI)
    folder = cache / copies(cache)[0]
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
        assert guard._encoder._tokenizer.__class__ is _unigram.MappedUnigram
        with HarmGuard(unigram, threads=1) as plain:
            assert guard.check_many(pairs) == plain.check_many(pairs)
    flip(cache / copies(cache)[0] / "pieces.npy")
    assert found(unigram, cache) == expected(unigram)


def test_another_tokenizer_is_held_in_memory(
    folder: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", str(folder), "--cache", str(cache)]) == 0
    reason = "its model is WordPiece; only Unigram can be mapped"
    assert f"tokenizer  held in memory: {reason}\n" in capsys.readouterr().out
    assert main(["info", str(folder), "--cache", str(cache)]) == 0
    assert "bytes, tokenizer not mapped\n" in capsys.readouterr().out
    assert _prepare.find(open_bundle(folder), cache).tokenizer() is None


def test_a_tokenizer_with_other_ids_is_not_used(
    unigram: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the library had other rules: an unknown character would beat known ones."""
    monkeypatch.setattr(_unigram, "UNKNOWN_PENALTY", -90.0)
    assert found(unigram, cache) == expected(unigram)
    copy = _prepare.find(open_bundle(unigram), cache)
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
    _prepare.prepare(open_bundle(large), cache)
    mapped = float(run(MAPPED, large, cache).split()[-1])
    assert mapped < 50
    assert held > mapped + 50


# Several processes, and killed ones


def test_several_processes_at_once_make_one_copy(folder: Path, cache: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", SCORE, str(folder), str(cache)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    assert len(set(outputs)) == 1, "the same copy and the same score everywhere"
    assert len(copies(cache)) == 1


PREPARE = """
import sys
from pathlib import Path
from harmguard._prepare import prepare
from harmguard.bundle import open_bundle
prepare(open_bundle(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("stage", ["model.onnx", "model.onnx.data"])
def test_a_killed_process_leaves_no_copy_and_the_next_one_cleans_up(
    stage: str, cache: Path
) -> None:
    if not (MINI / "guard.json").is_file():
        pytest.skip("no embedded guard in this checkout")
    process = subprocess.Popen([sys.executable, "-c", PREPARE, str(MINI), str(cache)])
    while process.poll() is None and not list(cache.glob(f".*.tmp-*/{stage}")):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it must have been under way"
    (left,) = copies(cache)
    assert left.startswith(".mini-")
    assert found(MINI, cache) == expected(MINI)
    (name,) = copies(cache)
    assert not name.startswith(".")


def test_waiting_for_another_process_ends(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_prepare, "LOCK_SECONDS", 0.1)
    cache.mkdir()
    with (cache / ".lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        without_copy(folder, cache, "another process has been preparing .* likely one that hangs")
    assert found(folder, cache) == expected(folder)


# Damaged copies are made again


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def link(path: Path) -> None:
    other = path.rename(path.with_name("elsewhere"))
    path.symlink_to(other)


def edit(path: Path, **changes: object) -> None:
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, **changes}))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit": (lambda copy: flip(copy / "model.onnx.data"), "has sha256"),
    "a cut file": (lambda copy: os.truncate(copy / "model.onnx", 9), "has 9 bytes"),
    "a lost file": (lambda copy: (copy / "model.onnx.data").unlink(), "data is missing"),
    "a link": (lambda copy: link(copy / "model.onnx"), "symbolic link"),
    "no record": (lambda copy: (copy / "prepared.json").unlink(), r"prepared\.json cannot be"),
    "half a record": (lambda copy: os.truncate(copy / "prepared.json", 40), "cannot be read"),
    "a list": (lambda copy: (copy / "prepared.json").write_text("[]"), "cannot be read"),
    "odd files": (lambda copy: edit(copy / "prepared.json", files=[]), "belongs to another"),
    "odd entries": (
        lambda copy: edit(copy / "prepared.json", files={"model.onnx": 1}), "cannot be read",
    ),
    "another's": (lambda copy: edit(copy / "prepared.json", identity={}), "belongs to another"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_copy_is_made_again(name: str, folder: Path, cache: Path) -> None:
    damage, match = DAMAGES[name]
    copy = _prepare.prepare(open_bundle(folder), cache)
    damage(copy.folder)
    with pytest.raises(PrepareError, match=match):
        _prepare.find(open_bundle(folder), cache)
    assert found(folder, cache) == expected(folder)
    assert copies(cache) == [copy.folder.name]


def test_large_files_are_trusted_while_size_and_time_hold(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "HASHED_AT_LOAD_BYTES", 1)
    opened = open_bundle(folder)
    data = _prepare.prepare(opened, cache).folder / "model.onnx.data"
    times = data.stat().st_atime_ns, data.stat().st_mtime_ns
    flip(data)
    with pytest.raises(PrepareError, match="has sha256"):
        _prepare.find(opened, cache)
    os.utime(data, ns=times)
    _prepare.find(opened, cache)


# Places that cannot be used


def test_a_disk_that_cannot_be_written_to(
    folder: Path, tmpfs: Callable[[str], Path], tmp_path: Path
) -> None:
    cache = tmpfs("size=4m")
    remount = ["mount", "-o", "remount,ro", str(cache)]
    subprocess.run(remount, check=True)
    match = "no copy for this bundle .*cannot be written: Read-only file system; expected a folder"
    without_copy(folder, cache, match)
    subprocess.run([*remount[:2], "remount,rw", str(cache)], check=True)
    copy = _prepare.prepare(open_bundle(folder), cache)
    subprocess.run(remount, check=True)
    assert found(folder, cache) == expected(folder), "a whole copy needs no writing"
    subprocess.run([*remount[:2], "remount,rw", str(cache)], check=True)
    flip(copy.folder / "model.onnx.data")
    subprocess.run(remount, check=True)
    without_copy(folder, cache, "is damaged: model.onnx.data has sha256 .*Read-only file system")


@pytest.mark.skipif(os.geteuid() == 0, reason="no permission stops root")
def test_a_folder_that_may_not_be_written_to(folder: Path, cache: Path) -> None:
    cache.mkdir(mode=0o555)
    without_copy(folder, cache, "cannot be written: Permission denied")


def test_a_place_that_is_no_folder(folder: Path, cache: Path) -> None:
    cache.write_text("")
    without_copy(folder, cache, "cannot be written: File exists")
    without_copy(folder, cache / "inside", "cannot be written: Not a directory")


def test_a_full_disk(folder: Path, tmpfs: Callable[[str], Path]) -> None:
    cache = tmpfs("size=4k")
    without_copy(folder, cache, r"no space for a copy .* bytes free; expected [\d,]+, twice")
    assert copies(cache) == []


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
""" + SCORE.replace("assert guard.unprepared is None, guard.unprepared", "")


@pytest.mark.parametrize("limit", [10, 100_000])
def test_space_that_ends_in_the_middle(limit: int, cache: Path, small_bundle: Path) -> None:
    """A limit on the size of files fails a write as a full disk does."""
    if not (MINI / "guard.json").is_file():
        pytest.skip("no embedded guard in this checkout")
    command = [sys.executable, "-c", LIMITED, str(MINI), str(cache), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split()[0] == "None"
    assert "UnpreparedWarning: guard 'mini' runs without" in done.stderr
    assert "onnxruntime cannot make the copy" in done.stderr
    assert "bytes are free" in done.stderr
    assert copies(cache) == []


@pytest.mark.parametrize("place", ["cache", "copy"])
def test_a_folder_that_others_can_write_to(folder: Path, cache: Path, place: str) -> None:
    copy = _prepare.prepare(open_bundle(folder), cache).folder
    path = cache if place == "cache" else copy
    path.chmod(0o777)
    with pytest.raises(PrepareError, match="can be written to by other users; expected a folder"):
        _prepare.find(open_bundle(folder), cache)
    if place == "copy":
        assert found(folder, cache) == expected(folder), "it is made again"
    else:
        without_copy(folder, cache, "can be written to by other users")
        path.chmod(0o1777)
        assert found(folder, cache) == expected(folder), "as in /tmp: others cannot replace it"


def test_a_copy_that_is_a_link(folder: Path, cache: Path, tmp_path: Path) -> None:
    copy = _prepare.prepare(open_bundle(folder), cache).folder
    copy.symlink_to(copy.rename(tmp_path / "elsewhere"))
    with pytest.raises(PrepareError, match="is not a folder of its own"):
        _prepare.find(open_bundle(folder), cache)
    assert found(folder, cache) == expected(folder)


# Bundles that cannot be prepared


def test_a_graph_that_onnxruntime_cannot_load(make_bundle: BundleMaker, cache: Path) -> None:
    folder = make_bundle(operator="NoSuchOperator")
    with (
        pytest.warns(UnpreparedWarning, match="onnxruntime cannot make the copy: model"),
        pytest.raises(BundleFileError, match="cannot be loaded"),
    ):
        HarmGuard(folder, cache=cache)
    assert copies(cache) == []


def test_a_copy_with_other_logits_is_refused(
    small_bundle: Path, cache: Path, tmp_path: Path
) -> None:
    """Noise is seeded by a node's number, and the copy has one node less: other logits."""
    graph = onnx.load(small_bundle / "model.onnx")
    graph.graph.node[-1].output[0] = "exact"
    graph.graph.node.extend(
        [
            helper.make_node("Identity", ["exact"], ["same"]),
            helper.make_node("RandomNormalLike", ["same"], ["noise"]),
            helper.make_node("Add", ["exact", "noise"], ["logits"]),
        ]
    )
    fields = open_bundle(small_bundle).manifest.to_json()
    names = fields.pop("files")
    files: dict[str, Path | bytes] = {name: small_bundle / name for name in names}
    files["model.onnx"] = graph.SerializeToString()
    noisy = write_bundle(tmp_path / "noisy", fields, files)
    with pytest.raises(PrepareError, match=r"gives logits up to .* from the bundle's"):
        _prepare.prepare(open_bundle(noisy), cache)
    assert copies(cache) == []


# What a copy belongs to


def test_every_bundle_has_a_copy_of_its_own(
    folder: Path, make_bundle: BundleMaker, cache: Path
) -> None:
    other = make_bundle(version="2")
    assert found(folder, cache) == expected(folder)
    assert found(other, cache) == expected(other)
    assert len(copies(cache)) == 2


X86 = (
    "processor: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 49\nmodel name\t: X\nflags\t: avx2 smep\n"
)
ARM = "processor: 0\nFeatures\t: asimd i8mm crc32\nCPU part\t: 0xd46\n\nCPU part\t: 0xd4d\n"


def test_processors_differ_by_design_and_vector_features(tmp_path: Path) -> None:
    def features(text: str) -> set[str]:
        path = tmp_path / "cpuinfo"
        path.write_text(text)
        return set(_prepare.cpu_features(path).split(", "))

    here = features("")
    assert here == set(_prepare.cpu_features(tmp_path / "none").split(", ")), "no procfs: no more"
    assert features(X86) - here == {"vendor_id AuthenticAMD", "model 49", "avx2"}
    assert features(ARM) - here == {"asimd", "i8mm", "CPU part 0xd46", "CPU part 0xd4d"}


def test_prepare_removes_copies_of_other_releases(
    folder: Path, make_bundle: BundleMaker, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_bundle(version="2")
    kept = _prepare.prepare(open_bundle(other), cache).folder.name
    current = _prepare.prepare(open_bundle(folder), cache).folder
    identity = json.loads((current / "prepared.json").read_text())["identity"]
    for name, change in {"tiny-old": {"onnxruntime": "1.0"}, "tiny-arm": {"cpu": "arm"}}.items():
        shutil.copytree(current, cache / name)
        edit(cache / name / "prepared.json", identity={**identity, **change})
    (cache / "tiny-odd").mkdir()
    (cache / "tiny-odd" / "prepared.json").write_text("{")
    assert main(["prepare", str(folder), "--cache", str(cache)]) == 0
    assert f"removed    {cache / 'tiny-old'}, made by another release" in capsys.readouterr().out
    assert copies(cache) == sorted([current.name, kept, "tiny-arm", "tiny-odd"])


# The commands


def test_commands(folder: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(folder), "--cache", str(cache)]) == 0
    assert "prepared     no: no copy for this bundle and device" in capsys.readouterr().out
    assert main(["prepare", str(folder), "--cache", str(cache)]) == 0
    copy = cache / copies(cache)[0]
    size = sum(path.stat().st_blocks * 512 for path in copy.iterdir())  # nothing shared here
    first, second, _, third = capsys.readouterr().out.splitlines()
    assert first == f"prepared   {copy}"
    assert second.startswith(f"disk       {size:,} bytes, beside the bundle's ")
    assert third == f"use        HarmGuard(..., cache='{cache}')"
    assert main(["info", str(folder), "--cache", str(cache)]) == 0
    assert f"prepared     {copy}, {size:,} bytes, tokenizer not mapped\n" in capsys.readouterr().out
    one = ["--guard", str(folder), "--threads", "1", "--cache", str(cache), TEXT, "please"]
    assert main(["score", *one]) == 0
    assert capsys.readouterr().out == f"{expected(folder):.4f}\n"
    assert len(copies(cache)) == 1


def test_prepare_fails_where_nothing_can_be_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["prepare", str(folder), "--cache", str(tmp_path / "file")]) == 3
    assert "harmguard: PrepareError: no copy for this bundle" in capsys.readouterr().err


def test_the_default_cache_is_the_systems(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["prepare", str(folder)]) == 0
    assert found(folder, tmp_path / "harmguard") == expected(folder)
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert _prepare.default_cache().is_relative_to(Path.home())
