"""Refuse native libraries that devices with pages of 16 KB do not load.

    python3 scripts/elf_alignment.py FILE...

Each FILE is an ELF file, or an APK or AAR, of which every .so is looked at. Every LOAD segment
must be aligned to a multiple of 16,384; a .so that is stored in an APK must begin at such an
offset, too.
Exit codes: 0 all fit, 1 some do not, 2 a file is no ELF file or archive.
"""

from __future__ import annotations

import struct
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

PAGE = 16_384
_LOAD = 1


class NotElfError(ValueError):
    """The bytes are not an ELF file."""


def load_alignments(content: bytes) -> list[int]:
    """The alignment of every LOAD segment of an ELF file, 32 or 64 bit, of either byte order."""
    if content[:4] != b"\x7fELF" or len(content) < 6 or content[4] not in (1, 2):
        raise NotElfError("no ELF file")
    wide, order = content[4] == 2, "<" if content[5] == 1 else ">"
    try:
        word, at = ("Q", 32) if wide else ("I", 28)
        (offset,) = struct.unpack_from(f"{order}{word}", content, at)
        size, count = struct.unpack_from(f"{order}HH", content, 54 if wide else 42)
        found = []
        for index in range(count):
            place = offset + index * size
            (kind,) = struct.unpack_from(f"{order}I", content, place)
            # p_align is the last field of a program header of either width.
            width, at = ("Q", 48) if wide else ("I", 28)
            if kind == _LOAD:
                found.append(struct.unpack_from(f"{order}{width}", content, place + at)[0])
    except struct.error:
        raise NotElfError("a truncated ELF file") from None
    if not found:
        raise NotElfError("an ELF file without LOAD segments")
    return found


def libraries(path: Path) -> Iterator[tuple[str, bytes, int]]:
    """Name, content and offset in the file (0 if it matters not) of every native library."""
    if not zipfile.is_zipfile(path):
        yield str(path), path.read_bytes(), 0
        return
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for one in archive.infolist():
            if one.filename.endswith(".so"):
                offset = 0
                if path.suffix == ".apk" and one.compress_type == zipfile.ZIP_STORED:
                    # The local header has lengths of its own.
                    file.seek(one.header_offset + 26)
                    name, extra = struct.unpack("<HH", file.read(4))
                    offset = one.header_offset + 30 + name + extra
                yield f"{path}!{one.filename}", archive.read(one), offset


def main(paths: Sequence[str]) -> int:
    """Say of every library whether it fits."""
    status = 0
    for path in paths:
        for name, content, offset in libraries(Path(path)):
            try:
                alignments = load_alignments(content)
            except NotElfError as error:
                print(f"{name}: {error}")
                status = 2
                continue
            fits = all(one and one % PAGE == 0 for one in alignments) and offset % PAGE == 0
            said = ", ".join(f"{one:#x}" for one in alignments)
            at = f", at {offset:#x}" if offset else ""
            print(f"{name}: LOAD {said}{at}: {'fits' if fits else 'does not fit'} pages of 16 KB")
            status = status or int(not fits)
    return status


if __name__ == "__main__":
    if len(sys.argv) < 2:
        print(__doc__.split("\n\n")[1].strip(), file=sys.stderr)
        raise SystemExit(2)
    raise SystemExit(main(sys.argv[1:]))
