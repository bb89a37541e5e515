"""What `harmguard check` does beside a verdict: --stream and --explain."""

from __future__ import annotations

import argparse
import codecs
import dataclasses
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from harmguard.cli import _guard_arguments
from harmguard.errors import HarmfulStreamError, InvalidTextError

if TYPE_CHECKING:
    from harmguard.guard import HarmGuard

_CHUNK = 1 << 16


def stream(args: argparse.Namespace, prompt: str) -> int:
    """Copy standard input to standard output as far as it is harmless; 1 at a stop."""
    out = sys.stdout.buffer
    with _guard_arguments.open_guard(args) as guard:
        threshold = "stream" if args.threshold is None else args.threshold
        with guard.stream(prompt, _decoded(sys.stdin.buffer), threshold=threshold) as parts:
            try:
                for part in parts:
                    out.write(part.encode())
                    out.flush()
            except HarmfulStreamError as stop:
                print(f"harmguard: stopped: {stop}", file=sys.stderr)
                return 1
    return 0


def _decoded(source: Any) -> Iterator[str]:
    """The text of a binary file as it comes. Raises InvalidTextError."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    read = 0
    while True:
        data = source.read1(_CHUNK)
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise InvalidTextError(
                f"standard input is no UTF-8 near byte {read + error.start:,}; expected UTF-8; "
                "likely another encoding, or a text that was cut"
            ) from None
        read += len(data)
        if not data:
            yield text
            return
        yield text


def explain(guard: HarmGuard, prompt: str, response: str | None) -> int:
    """Print a verdict with its reasons; 1 if it is harmful."""
    found = guard.explain(prompt, response)
    print(json.dumps(dataclasses.asdict(found)))
    return int(found.verdict.harmful)
