"""Bulk scoring: JSONL in, JSONL out, in the order of the input and in bounded memory."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from harmguard._cli._guard import UNREADABLE
from harmguard.bundle import strict_json
from harmguard.core.files import new_file
from harmguard.errors import InputError, InputTypeError

if TYPE_CHECKING:
    from harmguard.guard import HarmGuard
    from harmguard.verdict import Verdict

MAX_LINE_BYTES = 16_000_000
_CHUNK_ROWS = 512
_CHUNK_BYTES = 4_000_000

_Pair = tuple[str, str | None]
# A line's number with its pair, or with the reason why it has none.
_Row = tuple[int, "_Pair | InputError"]


def score_file(make_guard: Callable[[], HarmGuard], source: str, out: str | None) -> int:
    """Score the lines of `source` ("-" is stdin) to `out`, or to stdout; 1 if some were bad."""
    with contextlib.ExitStack() as stack:
        # The files first: a wrong path should not cost the start of a guard.
        lines = sys.stdin.buffer
        if source != "-":
            lines = stack.enter_context(open(source, "rb"))
        sink = sys.stdout if out is None else stack.enter_context(_new_text_file(Path(out)))
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
    results: list[Verdict | InputError | None] = [
        row if isinstance(row, InputError) else None for _, row in chunk
    ]
    pairs = [row for _, row in chunk if not isinstance(row, InputError)]
    slots = [index for index, result in enumerate(results) if result is None]
    scores: list[Verdict | InputError]
    try:
        scores = [*guard.check_many(pairs)] if pairs else []
    except InputError:
        # One bad pair stops a batch, so the batch is scored again pair by pair.
        scores = [_score_one(guard, pair) for pair in pairs]
    for slot, score in zip(slots, scores, strict=True):
        results[slot] = score
    return [result for result in results if result is not None]


def _score_one(guard: HarmGuard, pair: _Pair) -> Verdict | InputError:
    try:
        return guard.check(*pair)
    except InputError as error:
        return error


def _chunks(lines: BinaryIO) -> Iterator[list[_Row]]:
    chunk: list[_Row] = []
    size = 0
    for number, line in _lines(lines):
        if line is not None and not line.strip():
            continue
        chunk.append((number, _parse(line)))
        size += len(line or b"")
        if len(chunk) == _CHUNK_ROWS or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _lines(lines: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines; None stands for one that is too long to hold."""
    number = 0
    while line := lines.readline(MAX_LINE_BYTES):
        number += 1
        whole = line.endswith(b"\n") or len(line) < MAX_LINE_BYTES
        while not whole:
            rest = lines.readline(MAX_LINE_BYTES)
            whole = not rest or rest.endswith(b"\n")
            line = b""
        yield number, line or None


def _parse(line: bytes | None) -> _Pair | InputError:
    if line is None:
        return InputError(f"longer than {MAX_LINE_BYTES:,} bytes; likely not JSONL")
    try:
        row = strict_json.parse(line, MAX_LINE_BYTES)
    except ValueError as error:
        return InputError(str(error))
    if not isinstance(row, dict) or "prompt" not in row:
        return InputError(
            'not an object with a "prompt"; expected {"prompt": ..., "response": ...}'
        )
    prompt, response = row["prompt"], row.get("response")
    if not isinstance(prompt, str) or not isinstance(response, (str, type(None))):
        return InputTypeError(
            f'"prompt" is {type(prompt).__name__} and "response" {type(response).__name__}; '
            "expected strings (response also null or absent)"
        )
    return prompt, response


@contextlib.contextmanager
def _new_text_file(path: Path) -> Iterator[TextIO]:
    with new_file(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", write_through=True)
        yield text
        text.detach()
