"""android_demo, as far as no JDK is needed: versions of both builds, sizes, the ELF check.

The Kotlin code itself is built and tested by ./scripts/test_android.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest

from scripts import elf_alignment

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "android_demo"
GRADLE_ALONE = {
    *("agp", "androidxTestJunit", "androidxTestRunner", "compileSdk", "targetSdk", "minSdk"),
}


def pom_versions() -> dict[str, str]:
    """The properties NAME.version of all Maven files."""
    found: dict[str, str] = {}
    for pom in [*sorted(DEMO.glob("*/pom.xml")), DEMO / "pom.xml"]:
        text = pom.read_text(encoding="utf-8")
        found |= dict(re.findall(r"<([\w-]+)\.version>([^<$]+)</\1\.version>", text))
    return found


def test_both_builds_have_the_same_versions() -> None:
    catalog = tomllib.loads((DEMO / "gradle/libs.versions.toml").read_text(encoding="utf-8"))
    versions = {k: v for k, v in catalog["versions"].items() if k not in GRADLE_ALONE}
    poms = pom_versions()
    assert versions == {name: poms.get(name) for name in versions}
    assert {"kotlin", "ort", "compose", "robolectric", "coroutines"} <= set(versions)


def test_every_catalog_entry_is_used_by_a_build_file() -> None:
    catalog = tomllib.loads((DEMO / "gradle/libs.versions.toml").read_text(encoding="utf-8"))
    files = "".join(path.read_text(encoding="utf-8") for path in DEMO.glob("**/*.gradle.kts"))
    plugins = {f"libs.plugins.{name.replace('-', '.')}" for name in catalog["plugins"]}
    libraries = {f"libs.{name.replace('-', '.')}" for name in catalog["libraries"]}
    assert not {name for name in plugins | libraries if f"({name})" not in files}


def test_both_builds_pack_the_guard_of_the_package() -> None:
    import hashlib

    manifest = (ROOT / "harmguard/models/mini/guard.json").read_bytes()
    properties = (DEMO / "gradle.properties").read_text(encoding="utf-8")
    assert f"harmguard.bundle.sha256={hashlib.sha256(manifest).hexdigest()}\n" in properties


def test_no_second_copy_of_the_guard() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "android_demo"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert not [f for f in files if f.suffix in {".onnx", ".data"} or f.stat().st_size > 400_000]


# core was to have 2,600: docs/decisions.md says why it has more.
@pytest.mark.parametrize(("module", "most"), [("core", 5_900), ("harmguard", 700), ("app", 700)])
def test_modules_are_small(module: str, most: int) -> None:
    sources = (DEMO / module / "src/main").rglob("*.kt")
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in sources)
    assert 0 < lines <= most


def test_pictures_are_small() -> None:
    pictures = list((DEMO / "pictures").glob("*.png"))
    assert len(pictures) >= 4
    assert max(path.stat().st_size for path in pictures) < 100_000


def test_the_reduced_build_has_every_operator_of_the_shipped_graph() -> None:
    onnx = pytest.importorskip("onnx")
    lines = (DEMO / "operators.config").read_text(encoding="utf-8").splitlines()
    listed = {
        (domain, name)
        for domain, _, names in (line.split(";") for line in lines if line[0] != "#")
        for name in names.split(",")
    }
    model = onnx.load(ROOT / "harmguard/models/mini/model.onnx", load_external_data=False)
    assert {(node.domain or "ai.onnx", node.op_type) for node in model.graph.node} <= listed


def test_no_manifest_asks_for_the_network() -> None:
    for manifest in DEMO.glob("*/src/main/AndroidManifest.xml"):
        assert "uses-permission" not in manifest.read_text(encoding="utf-8")


# What is missing


def test_the_script_names_all_that_is_missing(tmp_path: Path) -> None:
    for tool in ("bash", "dirname"):
        (tmp_path / tool).symlink_to(Path("/usr/bin") / tool)
    env = {k: v for k, v in os.environ.items() if k not in {"JAVA_HOME", "AAPT2"}}
    done = subprocess.run(
        [ROOT / "scripts/test_android"],
        env={**env, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    for name in ("a JDK", "Maven", "aapt2"):
        assert name in done.stderr


# ELF


def elf(alignments: list[int], wide: bool = True, order: str = "<") -> bytes:
    """An ELF file with a LOAD segment of each alignment, and one other segment."""
    size = 56 if wide else 32
    start = 64 if wide else 52
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    word = "Q" if wide else "I"
    head = struct.pack(f"{order}HHI{word}{word}{word}I", 3, 183, 1, 0, start, 0, 0)
    head += struct.pack(f"{order}HHHHHH", start, size, len(alignments) + 1, 0, 0, 0)
    segments = b""
    for kind, align in [(6, 8), *((1, one) for one in alignments)]:
        if wide:
            segments += struct.pack(f"{order}IIQQQQQQ", kind, 5, 0, 0, 0, 0, 0, align)
        else:
            segments += struct.pack(f"{order}IIIIIIII", kind, 0, 0, 0, 0, 0, 5, align)
    return ident + head + segments


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_load_segments_are_read_of_every_kind_of_elf(wide: bool, order: str) -> None:
    assert elf_alignment.load_alignments(elf([0x4000, 0x1000], wide, order)) == [0x4000, 0x1000]


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (elf([0x4000, 0x10000]), 0, "0x4000, 0x10000: fits"),
        (elf([0x4000, 0x1000]), 1, "0x4000, 0x1000: does not fit"),
        (elf([0]), 1, "does not fit"),
        (elf([]), 2, "without LOAD segments"),
        (elf([0x4000])[:80], 2, "truncated"),
        (b"no library", 2, "no ELF file"),
    ],
)
def test_a_library_fits_or_not(
    content: bytes, status: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lib.so"
    file.write_bytes(content)
    assert elf_alignment.main([str(file)]) == status
    assert says in capsys.readouterr().out


@pytest.mark.parametrize(("suffix", "status"), [("apk", 1), ("aar", 0)])
def test_a_stored_library_begins_at_a_page_of_an_apk(
    suffix: str, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"app.{suffix}"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("lib/arm64-v8a/libone.so", elf([0x4000]))
    assert elf_alignment.main([str(file)]) == status
    assert "libone.so: LOAD 0x4000" in capsys.readouterr().out


def test_a_compiler_s_own_library_is_read(tmp_path: Path) -> None:
    """Python's own extension modules are ELF files on Linux."""
    import _ctypes

    with open(_ctypes.__file__, "rb") as file:
        content = file.read()
    if content[:4] != b"\x7fELF":
        pytest.skip("no ELF system")
    assert all(one >= 0x1000 for one in elf_alignment.load_alignments(content))
