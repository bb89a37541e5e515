"""Render the tables of README.md and benchmarks/README.md from the raw results.

    python -m benchmarks.report

A table stands between ``<!-- benchmarks:NAME -->`` and ``<!-- /benchmarks:NAME -->``; NAME is
the name of a benchmark's file in results/, NAME-FOLDER for another machine's run in a folder of
results/, or summary. The pictures of peers and scaling are drawn beside their results. Rendering
again from the same files changes nothing.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import _tables
from benchmarks.harness.errors import PageError
from benchmarks.harness.results import RESULTS, ROOT, guarded, say, write_text
from benchmarks.performance import _peers_table, _pictures, _scaling_table
from benchmarks.processors import _portability_table
from benchmarks.quality import _disguise_table, _quality_table, _streaming_table

PAGES = (
    *(ROOT / "README.md", ROOT / "benchmarks" / "README.md"),
    *(ROOT / "docs" / "streaming.md", ROOT / "docs" / "explain.md"),
)
RENDERERS = {
    "run": _tables.run,
    "speed": _tables.speed,
    "bulk": _tables.bulk,
    "startup": _tables.startup,
    "longtext": _tables.longtext,
    "streaming": _streaming_table.streaming,
    "explaining": _streaming_table.explaining,
    "disguise": _disguise_table.disguise,
    "peers-mini": _peers_table.peers,
    "peers-435m": _peers_table.peers,
    "scaling": _scaling_table.scaling,
    "quality": _quality_table.quality,
    "portability": _portability_table.portability,
    "portability-deberta": _portability_table.portability,
}
DRAWERS = {
    "peers-mini": _pictures.peers,
    "peers-435m": _pictures.peers,
    "scaling": _pictures.scaling,
}
OTHERS = {"zen4": ("run", "speed", "bulk", "peers-mini", "peers-435m")}
"""Folders of results/ with another machine's run, and which of its tables are rendered."""
OPENING = re.compile(r"<!-- benchmarks:(\S+) -->")


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the marked places of both pages."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report", description="Render the tables from the raw results."
    )
    parser.parse_args(arguments)
    blocks = render(RESULTS)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        filled = fill(text, blocks, page.name)
        say(f"{page.relative_to(ROOT)}: {'unchanged' if filled == text else 'rendered'}")
        if filled != text:
            write_text(page, filled)
    for name, drawer in DRAWERS.items():
        raw = RESULTS / f"{name}.json"
        if raw.exists():
            drawer(json.loads(raw.read_text(encoding="utf-8")), RESULTS / f"{name}.svg")
    return 0


def render(folder: Path) -> dict[str, str]:
    """Name -> Markdown, for every benchmark and the summary; unmeasured ones say so."""
    results = _read(folder, RENDERERS)
    blocks = {name: f"{_picture(name, results)}{_block(name, results)}" for name in RENDERERS}
    for other, names in OTHERS.items():
        found = _read(folder / other, names)
        blocks |= {f"{name}-{other}": _block(name, found) for name in names}
    return blocks | {"summary": _tables.summary(results)}


def _read(folder: Path, names: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """The raw results that are there."""
    files = {name: folder / f"{name}.json" for name in names}
    return {
        name: json.loads(path.read_text(encoding="utf-8"))
        for name, path in files.items()
        if path.exists()
    }


def _block(name: str, results: Mapping[str, Mapping[str, Any]]) -> str:
    if name not in results:
        return _tables.NOT_MEASURED
    return f"{RENDERERS[name](results[name])}\n\nMachine: {_tables.machine(results[name])}"


def _picture(name: str, results: Mapping[str, Any]) -> str:
    return f"![{name}](results/{name}.svg)\n\n" if name in DRAWERS and name in results else ""


def fill(text: str, blocks: Mapping[str, str], page: str) -> str:
    """The page with every marked place filled. PageError for a wrong or unclosed marker."""
    for name in OPENING.findall(text):
        if name not in blocks:
            known = ", ".join(blocks)
            raise PageError(f"{page}: marker {name!r} is unknown; expected one of {known}")
        opening, closing = f"<!-- benchmarks:{name} -->", f"<!-- /benchmarks:{name} -->"
        before, rest = text.split(opening, 1)
        if closing not in rest:
            raise PageError(f"{page}: marker {name!r} is not closed; expected {closing}")
        after = rest.split(closing, 1)[1]
        text = f"{before}{opening}\n{blocks[name]}\n{closing}{after}"
    return text


if __name__ == "__main__":
    raise SystemExit(guarded(main))
