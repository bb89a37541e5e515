"""Bulk scoring: JSONL in, JSONL out, in the order of the input and in bounded memory."""

from __future__ import annotations

import contextlib
import io
import json
import select
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from harmguard.cli._guard_arguments import UNREADABLE
from harmguard.cli._standard_streams import SIGNALS, input_bytes
from harmguard.core.files import new_file
from harmguard.errors import InputError
from harmguard.rows import pair_of_line

if TYPE_CHECKING:
    from harmguard.guard import HarmGuard
    from harmguard.verdict import Verdict

MAX_LINE_BYTES = 16_000_000
_CHUNK_ROWS = 512
_CHUNK_BYTES = 4_000_000
_BLOCK_BYTES = 1 << 16

_Pair = tuple[str, str | None]
# A line's number with its pair, or with the reason why it has none.
_Row = tuple[int, "_Pair | InputError"]


def score_file(make_guard: Callable[[], HarmGuard], source: str, out: str | None) -> int:
    """Score the lines of `source` ("-" is stdin) to `out` ("-" is stdout); 1 if some were bad."""
    with contextlib.ExitStack() as stack:
        # The files first: a wrong path should not cost the start of a guard.
        if source == "-":
            lines = input_bytes()
        else:
            lines = stack.enter_context(open(source, "rb"))
        sink = sys.stdout
        if out is not None and out != "-":
            sink = stack.enter_context(_new_text_file(Path(out)))
        guard = stack.enter_context(make_guard())
        return score_lines(guard, lines, sink)


def score_lines(guard: HarmGuard, lines: BinaryIO, sink: TextIO) -> int:
    """Score JSONL from `lines` to `sink`; 1 if some lines were bad, else 0."""
    bad = done = 0
    counting = sys.stderr.isatty()
    for chunk in _chunks(lines):
        for (number, _), result in zip(chunk, _score(guard, chunk), strict=True):
            if isinstance(result, InputError):
                bad += 1
                name = type(result).__name__
                print(f"harmguard: line {number}: {name}: {result}", file=sys.stderr)
                row: dict[str, object] = {"line": number, "error": name}
            else:
                row = {"line": number, "score": round(result.score, 6)}
                if result.unreadable >= UNREADABLE:
                    row["unreadable"] = round(result.unreadable, 3)
            sink.write(json.dumps(row) + "\n")
        sink.flush()
        done += len(chunk)
        if counting:
            print(f"\r{done:,} lines", end="", file=sys.stderr, flush=True)
    if counting:
        print(file=sys.stderr)
    return int(bad > 0)


def _score(guard: HarmGuard, chunk: list[_Row]) -> list[Verdict | InputError]:
    """A verdict, or why there is none, for each row."""
    pairs = [row for _, row in chunk if not isinstance(row, InputError)]
    refused: dict[int, InputError] = {}
    verdicts = guard._check_all(pairs, refused.__setitem__)
    results = iter([refused.get(index) or next(verdicts) for index in range(len(pairs))])
    return [row if isinstance(row, InputError) else next(results) for _, row in chunk]


def _chunks(lines: BinaryIO) -> Iterator[list[_Row]]:
    """Rows in chunks of bounded size; one ends early where a reader would have to wait."""
    chunk: list[_Row] = []
    size = 0
    for numbered in _lines(lines):
        if numbered is not None:
            number, line = numbered
            if line is not None and not line.strip():
                continue
            chunk.append((number, _parse(line)))
            size += len(line or b"")
        if chunk and (numbered is None or len(chunk) == _CHUNK_ROWS or size >= _CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _lines(lines: BinaryIO) -> Iterator[tuple[int, bytes | None] | None]:
    """Numbered lines, None in place of one that is too long to hold; None alone before a wait."""
    number = size = 0
    kept = bytearray()
    for block in _blocks(lines):
        if block is None:
            yield None
            continue
        *ended, rest = block.split(b"\n")
        for part in ended:
            number += 1
            yield number, bytes(kept + part) if size + len(part) < MAX_LINE_BYTES else None
            kept.clear()
            size = 0
        size += len(rest)
        if size < MAX_LINE_BYTES:
            kept += rest
        else:
            kept.clear()
    if size:
        yield number + 1, bytes(kept) if size < MAX_LINE_BYTES else None


def _blocks(lines: BinaryIO) -> Iterator[bytes | None]:
    """What has arrived, as it arrives; None before a wait for more."""
    read = getattr(lines, "read1", lines.read)
    while True:
        SIGNALS.raise_received()
        if not _more_waits(lines):
            yield None
            SIGNALS.raise_received()
        block: bytes = read(_BLOCK_BYTES)
        if not block:
            return
        yield block


def _more_waits(lines: BinaryIO) -> bool:
    """Whether a read would return at once; True where the system does not tell."""
    try:
        # What a buffered reader has read ahead is no concern: read1 leaves nothing behind.
        return bool(select.select([lines], [], [], 0)[0])
    except (OSError, TypeError, ValueError):  # no file of the system, or a system without
        return True


def _parse(line: bytes | None) -> _Pair | InputError:
    if line is None:
        return InputError(f"longer than {MAX_LINE_BYTES:,} bytes; likely not JSONL")
    try:
        return pair_of_line(line)
    except InputError as error:
        return error


@contextlib.contextmanager
def _new_text_file(path: Path) -> Iterator[TextIO]:
    with new_file(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", write_through=True)
        yield text
        text.detach()
