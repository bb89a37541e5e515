"""`python -m harmguard` is the command `harmguard`."""

from __future__ import annotations

import sys

from harmguard.cli import main

if __name__ == "__main__":
    sys.exit(main())
