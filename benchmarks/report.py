"""Render a page for each raw result, and the tables of other pages, from the raw results.

    python -m benchmarks report

results/NAME.json becomes results/NAME.md, with the picture that its benchmark draws. In PAGES a
table stands between ``<!-- benchmarks:NAME -->`` and ``<!-- /benchmarks:NAME -->``; NAME is the
name of a result in results/, or one of OWN. Rendering again from the same files changes nothing.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness.cells import NAMES, machine, noise
from benchmarks.harness.command import Script, command_of
from benchmarks.harness.errors import PageError
from benchmarks.harness.results import RESULTS, ROOT, read_json, say, write_text
from benchmarks.runtimes.models import PEERS
from harmguard.bench.markdown import number, table

PAGES = (
    *(ROOT / "README.md", ROOT / "benchmarks" / "README.md"),
    *(ROOT / "docs" / "streaming.md", ROOT / "docs" / "explain.md"),
)
OPENING = re.compile(r"<!-- benchmarks:(\S+) -->")
NOT_MEASURED = "Not measured yet."
SUMMARY_LENGTHS = (32, 128, 512)

Results = Mapping[str, Any]
"""Raw results by name: that of the file, after its folder's and a slash."""


def run(_: argparse.Namespace) -> int:
    """Write the pages and pictures of results, and fill the marked places of other pages."""
    results = read(RESULTS)
    for name, result in results.items():
        write_text(RESULTS / f"{name}.md", page(name, result))
        picture = command_of(Path(name).name).picture
        if picture is not None:
            picture(result, RESULTS / f"{name}.svg")
    blocks = render(results)
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        filled = fill(text, blocks, path.name)
        say(f"{path.relative_to(ROOT)}: {'unchanged' if filled == text else 'rendered'}")
        if filled != text:
            write_text(path, filled)
    return 0


def read(folder: Path) -> Results:
    """The raw results of a folder and those below it; quick and partial ones are left out."""
    files = [*sorted(folder.glob("*.json")), *sorted(folder.glob("*/*.json"))]
    return {
        str(path.relative_to(folder).with_suffix("")): read_json(path)
        for path in files
        if command_of(path.stem) is not None
    }


def render(results: Results) -> dict[str, str]:
    """What may stand in a marked place, by its name."""
    blocks = {name: _block(name, result) for name, result in results.items()}
    return blocks | {name: own(results) for name, own in OWN.items()}


def _block(name: str, result: Any) -> str:
    return f"{command_of(Path(name).name).table(result)}\n\nMachine: {machine(result)}"


def page(name: str, result: Any) -> str:
    """The page of a result."""
    own, stem = command_of(Path(name).name), Path(name).name
    about = str(own.about).partition("\n")[0]
    picture = f"![{stem}]({stem}.svg)\n\n" if own.picture else ""
    source = f"Made by `python -m benchmarks report` from [{stem}.json]({stem}.json)."
    return f"# {name}\n\n{about}\n\n{picture}{_block(name, result)}\n\n{source}\n"


def index(results: Results) -> str:
    """The results that there are, with links."""
    rows = [
        [
            f"[{name}](results/{name}.md)",
            str(command_of(Path(name).name).about).partition("\n")[0].rstrip("."),
            str(result["started"][:10]),
        ]
        for name, result in results.items()
    ]
    return "\n".join(["| result | what | date |", "|---|---|---|"]
                     + [f"| {' | '.join(row)} |" for row in rows])  # fmt: skip


def summary(results: Results) -> str:
    """Latency, throughput, start-up and memory; needs speed, bulk and startup."""
    if not {"speed", "bulk", "startup"} <= set(results):
        return NOT_MEASURED
    fast = {one["tokens"]: one["text"] for one in results["speed"]["lengths"]}
    lengths = [tokens for tokens in SUMMARY_LENGTHS if tokens in fast]
    flow = results["bulk"]
    rows = []
    for name, title in NAMES.items():
        way = {"harmguard": "score_many", "optimum": "optimum"}.get(name)
        bulk = f"{flow['pairs'] / flow['seconds'][way]['median']:.0f}" if way else "-"
        rows.append([title, *(f"{fast[n]['ms'][name]['median']:.1f}" for n in lengths), bulk])
    start, memory = results["startup"]["startup_s"]["total"], results["startup"]["memory_mb"]
    return (
        table(["", *(f"ms at {n} tokens" for n in lengths), "pairs / s in bulk"], rows)
        + f"\n\nProcess start to first score {start['median']:.2f} s; anonymous memory then "
        f"{number(memory['first_score'], 0)} MB; bundle "
        f"{results['speed']['bundle']['bytes'] / 1e6:.1f} MB. Medians, one pair at a time, text to "
        "score; the bulk run has no torch. [Method, tails and the rest](benchmarks/README.md). "
        f"{noise(cell for one in fast.values() for cell in one['ms'].values())}\n\n"
        f"Machine: {machine(results['speed'])}"
    )


def overview(results: Results) -> str:
    """Every runtime at 128 tokens in both sizes; needs both runs of peers."""
    sizes = [results.get(f"peers-{size}") for size in ("mini", "435m")]
    if None in sizes:
        return NOT_MEASURED
    rows = []
    for name, peer in PEERS.items():
        own = [size["rows"].get(name) for size in sizes if size]
        ms = [f"{row['ms']['128']['median']:.1f}" if row else "-" for row in own]
        mb = [number(row["memory_mb"]["anonymous"], 0) if row else "-" for row in own]
        rows.append([peer.title, *ms, *mb])
    head = ["runtime", "mini, ms", "435M, ms", "mini, anonymous MB", "435M, anonymous MB"]
    return table(head, rows)


OWN: dict[str, Callable[[Results], str]] = {
    "summary": summary,
    "overview": overview,
    "results": index,
}
"""Blocks made of several results."""


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


COMMAND = Script(__name__, lambda _: None, run)

if __name__ == "__main__":
    raise SystemExit(COMMAND.guarded())
