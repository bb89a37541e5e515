"""Reading, writing and verifying a bundle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harmguard import HarmGuard
from harmguard.bundle import RECORD, load_tokenizer, open_bundle, write_bundle
from harmguard.bundle.manifest import seal
from harmguard.core.encode import PairEncoder
from harmguard.errors import (
    BundleFileError,
    GoldenMismatchError,
    ManifestError,
    OutputExistsError,
    TokenizerError,
    UnsafePathError,
)
from harmguard.verify import verify


@pytest.fixture
def folder(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy of a bundle."""
    return Path(shutil.copytree(small_bundle, tmp_path / "guard"))


def parts(folder: Path) -> tuple[dict[str, Any], dict[str, Path | bytes]]:
    """Manifest and files of a bundle, as `write_bundle` takes them."""
    fields = open_bundle(folder).manifest.to_json()
    return fields, {name: folder / name for name in fields.pop("files")}


# Reading


def test_it_gives_manifest_and_paths(folder: Path) -> None:
    opened = open_bundle(str(folder))
    assert opened.manifest.name == "tiny"
    assert opened.path("model.onnx") == folder / "model.onnx"
    with pytest.raises(KeyError):
        opened.path("other")


def test_unlisted_files_are_ignored(folder: Path) -> None:
    (folder / ".DS_Store").write_bytes(b"x")
    assert open_bundle(folder).manifest.name == "tiny"


def test_a_folder_may_be_reached_through_a_symlink(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(folder)
    assert open_bundle(tmp_path / "current").manifest.name == "tiny"


@pytest.mark.parametrize("version", [1, 3])
def test_bundles_of_every_version_are_read(version: int) -> None:
    golden_bundle = Path(__file__).parents[1] / "golden" / f"format-{version}"
    assert open_bundle(golden_bundle).manifest.format_version == version
    report = verify(golden_bundle)
    assert (report.files, report.rows) == (4, 9)


def test_an_old_bundle_is_written_anew_in_the_newest_version(tmp_path: Path) -> None:
    """tests/golden/format-3 is format-1, read and written again."""
    old, new = (Path(__file__).parents[1] / "golden" / f"format-{version}" for version in (1, 3))
    opened = open_bundle(old)
    fields = opened.manifest.to_json()
    files: dict[str, Path | bytes] = {name: old / name for name in fields.pop("files")}
    files["README.md"] = new / "README.md"
    out = write_bundle(tmp_path / "out", fields, files)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {
        p.name: p.read_bytes() for p in new.iterdir()
    }


# Writing


def test_written_bundle_is_read_back(folder: Path, tmp_path: Path) -> None:
    fields, files = parts(folder)
    files["README.md"] = b"# tiny\n"
    fields["x_note"] = "caf\u00e9"
    out = write_bundle(tmp_path / "new" / "copy", fields, files)
    assert out == tmp_path / "new" / "copy"
    assert sorted(os.listdir(out)) == sorted([*files, "guard.json"])
    assert os.listdir(out.parent) == ["copy"]
    manifest = open_bundle(out).manifest
    assert manifest.extensions == {"x_note": "caf\u00e9"}
    assert manifest.files["README.md"].sha256 == hashlib.sha256(b"# tiny\n").hexdigest()


@pytest.mark.parametrize("kind", ["folder", "file", "dangling"])
def test_it_refuses_to_overwrite(folder: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "folder":
        out.mkdir()
    elif kind == "file":
        out.write_bytes(b"")
    else:
        out.symlink_to("nowhere")
    with pytest.raises(OutputExistsError, match="exists; expected a new path"):
        write_bundle(out, *parts(folder))


def failing(fields: dict[str, Any], files: dict[str, Any], tmp_path: Path) -> None:
    """`write_bundle` leaves nothing behind when it fails."""
    before = sorted(os.listdir(tmp_path))
    try:
        write_bundle(tmp_path / "out", fields, files)
    finally:
        assert sorted(os.listdir(tmp_path)) == before


def test_wrong_manifest_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    fields, files = parts(folder)
    with pytest.raises(ManifestError, match="status is"):
        failing({**fields, "status": "?"}, files, tmp_path)


def test_missing_source_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    fields, files = parts(folder)
    with pytest.raises(FileNotFoundError):
        failing(fields, {**files, "model.onnx": tmp_path / "none"}, tmp_path)


def test_name_outside_the_folder_is_not_written(folder: Path, tmp_path: Path) -> None:
    fields, files = parts(folder)
    with pytest.raises(UnsafePathError, match="expected one plain name"):
        failing(fields, {**files, "../escaped": b""}, tmp_path)


def test_writer_checks_the_tokenizer(folder: Path, tmp_path: Path) -> None:
    fields, files = parts(folder)
    tokenizer = load_tokenizer(open_bundle(folder))
    tokenizer.enable_truncation(128)
    with pytest.raises(TokenizerError, match="truncation set; expected null"):
        failing(fields, {**files, "tokenizer.json": tokenizer.to_str().encode()}, tmp_path)


def test_writer_checks_the_model(folder: Path, tmp_path: Path) -> None:
    fields, files = parts(folder)
    with pytest.raises(BundleFileError, match=r"model.onnx: 0 bytes"):
        failing(fields, {**files, "model.onnx": b""}, tmp_path)


def test_a_killed_writer_leaves_no_bundle(folder: Path, tmp_path: Path) -> None:
    pipe, out = tmp_path / "pipe", tmp_path / "out"
    os.mkfifo(pipe)
    code = (
        "import json, sys; from pathlib import Path; from harmguard.bundle import *\n"
        "source, pipe, out = map(Path, sys.argv[1:])\n"
        "fields = open_bundle(source).manifest.to_json()\n"
        "files = {n: source / n for n in fields.pop('files')} | {'README.md': pipe}\n"
        "write_bundle(out, fields, files)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, folder, pipe, out]) as writer:
        # Opening succeeds once the writer reads, in the middle of its work.
        with pipe.open("wb") as stuck:
            stuck.write(b"half")
            stuck.flush()
            time.sleep(0.05)
            writer.send_signal(signal.SIGKILL)
            writer.wait()
    assert not out.exists()
    (left,) = tmp_path.glob(".out.*.part")
    assert not (left / "guard.json").exists()
    assert write_bundle(out, *parts(folder)) == out
    assert not left.exists()


# Verifying, and the record of large files


def golden(folder: Path, **changes: Any) -> None:
    """Write one true golden row, changed as asked, into the bundle."""
    opened = open_bundle(folder)
    spec = opened.manifest.input
    encoder = PairEncoder(load_tokenizer(opened), spec.template, spec.max_tokens)
    windows = encoder.encode("how to bake " * 50, "please").windows
    with HarmGuard(folder, threads=1) as guard:
        score = guard.score("how to bake " * 50, "please")
        logits = []
        for window in windows:
            mask = window.ids * 0 + 1
            session = guard._session
            assert session is not None
            logits += session.run(window.ids[None], mask[None], window.types[None]).tolist()
    row = {
        "prompt": "how to bake " * 50,
        "response": "please",
        "ids": [window.ids.tolist() for window in windows],
        "logits": logits,
        "score": score,
        "tolerance": 0.01,
    }
    data = (json.dumps({**row, **changes}) + "\n").encode()
    fields = json.loads((folder / "guard.json").read_text())
    (folder / "golden.jsonl").write_bytes(data)
    entry = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    fields["files"]["golden.jsonl"] = entry
    (folder / "guard.json").write_bytes(seal(json.dumps(fields).encode()))


def test_verify_reports_what_it_checked(folder: Path) -> None:
    golden(folder)
    report = verify(folder)
    assert (report.files, report.rows, report.tolerance, report.recorded) == (3, 1, 0.01, None)
    assert report.worst < 0.001
    assert report.bytes == sum(entry.size for entry in open_bundle(folder).manifest.files.values())


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"ids": [[2, 3]], "logits": [[0, 0]], "score": 0.5}, "row 1: 7 windows; expected 1"),
        ({"score": 0.5, "tolerance": 1e-9}, r"score 0.\d+; its logits give"),
        ({"score": 2}, "score is not what"),
        ({"tolerance": 0}, "tolerance is not what"),
        ({"logits": [[0.0, 0.0]]}, "logits is not what"),
        ({"ids": [["2"]]}, "ids is not what"),
        ({"prompt": None}, "prompt is not what"),
        ({"more": 1}, "an object with exactly"),
    ],
)
def test_golden_row_that_does_not_hold(folder: Path, changes: dict[str, Any], match: str) -> None:
    golden(folder, **changes)
    with pytest.raises((BundleFileError, GoldenMismatchError), match=match):
        verify(folder)


def test_golden_ids_of_another_tokenizer(folder: Path) -> None:
    golden(folder)
    row = json.loads((folder / "golden.jsonl").read_text())
    row["ids"][1][4] += 1
    golden(folder, ids=row["ids"])
    with pytest.raises(GoldenMismatchError, match=r"token id \d+ at 4 of window 1; expected"):
        verify(folder)


def test_golden_score_of_another_model(folder: Path) -> None:
    golden(folder, logits=[[0, 4.0]] * 7, score=0.880797)
    with pytest.raises(GoldenMismatchError, match=r"row 1: score .* expected 0.8808 within 0.01"):
        verify(folder)


def test_golden_file_that_is_empty(folder: Path) -> None:
    fields, files = parts(folder)
    out = write_bundle(folder.parent / "out", fields, {**files, "golden.jsonl": b""})
    with pytest.raises(BundleFileError, match=r"golden.jsonl is empty"):
        verify(out)


@pytest.fixture
def large(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle whose model counts as large."""
    golden(folder)
    size = (folder / "model.onnx").stat().st_size
    monkeypatch.setattr("harmguard.bundle.content.HASHED_AT_LOAD_BYTES", size)
    return folder


def spoil(folder: Path, keep_time: bool) -> None:
    """Flip one bit of the model's weights, size and perhaps time kept."""
    path = folder / "model.onnx"
    info = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    times = (info.st_atime_ns, info.st_mtime_ns + (0 if keep_time else 1_000_000_000))
    os.utime(path, ns=times)


def test_large_files_are_hashed_at_load_without_a_record(large: Path) -> None:
    spoil(large, keep_time=True)
    with pytest.raises(BundleFileError, match=r"model.onnx has sha256"):
        open_bundle(large)


def test_record_is_trusted_while_size_and_time_hold(large: Path) -> None:
    assert verify(large).recorded is True
    spoil(large, keep_time=True)
    assert open_bundle(large).manifest.name == "tiny"
    with pytest.raises(BundleFileError, match=r"model.onnx has sha256"):
        verify(large)


def test_record_is_not_trusted_after_a_change(large: Path) -> None:
    verify(large)
    spoil(large, keep_time=False)
    with pytest.raises(BundleFileError, match=r"model.onnx has sha256"):
        open_bundle(large)


@pytest.mark.parametrize("text", ["", "[]", '{"files": 1}', '{"files": {"model.onnx": 1}}'])
def test_damaged_record_is_ignored(large: Path, text: str) -> None:
    (large / RECORD).write_text(text)
    assert open_bundle(large).manifest.name == "tiny"
    assert verify(large).recorded is True


def test_record_that_cannot_be_written(large: Path) -> None:
    (large / RECORD).mkdir()
    assert verify(large).recorded is False
    assert not list(large.glob("*.part")) + list(large.glob(".*.part"))
