"""harmguard's own export of a checkpoint, with the parity measured and no gate.

    python -m benchmarks._bundle_export CHECKPOINT OUT RECIPE

Random weights pass no gate that was made for trained ones; the score error is in the table.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harmguard_export import export


def main() -> int:
    """Export what the arguments name."""
    checkpoint, out, recipe = sys.argv[1:]
    export(Path(checkpoint), Path(out), recipe=recipe, gate=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
