"""python -m benchmarks NAME ...: one command. Without a name: `run`, all of them."""

from __future__ import annotations

import sys

from benchmarks.harness.command import command, commands

if __name__ == "__main__":
    name, *arguments = sys.argv[1:] if sys.argv[1:2] and sys.argv[1] in commands() else [
        "run", *sys.argv[1:]
    ]  # fmt: skip
    raise SystemExit(command(name).guarded(arguments))
