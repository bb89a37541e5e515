"""README.md: its example gives the output it shows, its links lead somewhere, no figure is open."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"\d+\.\d+")


def block(language: str) -> str:
    """The first fenced block of a language."""
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def test_no_figure_is_open() -> None:
    assert "TODO" not in README


def test_example_gives_the_output_shown() -> None:
    """Within .02, because int8 arithmetic depends a little on the processor."""
    command = [sys.executable, "-c", block("python")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown = block("text")
    assert NUMBER.sub("#", done.stdout) == NUMBER.sub("#", shown)
    expected = [float(number) for number in NUMBER.findall(shown)]
    assert [float(number) for number in NUMBER.findall(done.stdout)] == pytest.approx(
        expected, abs=0.02
    )


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
    ],
)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [link for link in links if link and "://" not in link]
    missing = [link for link in local if not ((ROOT / page).parent / link).exists()]
    assert not missing


def result(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text("utf-8"))


def test_the_table_has_the_figures_of_the_results() -> None:
    guards = result("quality")["guards"]
    assert [one["guard"]["name"] for one in guards] == ["mini", "base"]
    sets = [
        {name.partition("_")[0]: part for name, part in one["sources"].items()}
        | {"mean": one["macro"]["all"]}
        for one in guards
    ]
    shown = re.findall(r"^\| (\w+)[^|]* ((?:\| +\.\d+ +){4})\|", README, re.MULTILINE)
    assert {name.lower() for name, _ in shown} == set(sets[0])
    for name, figures in shown:
        parts = [of[name.lower()] for of in sets]
        measured = [f"{p[kind]['value']:.3f}"[1:] for p in parts for kind in ("f1", "auprc")]
        assert re.findall(r"\.\d+", figures) == measured, name


def test_the_table_of_costs_has_the_figures_of_one_run() -> None:
    guards = result("guards")["guards"]
    names = [one["bundle"]["name"] for one in guards]
    assert names == ["mini", "base", "multilingual"]
    for one in guards:
        assert f"`{one['bundle']['sha256']['guard.json'][:16]}`" in README
    expected = {
        f"a pair of {n} tokens, ms": [f"{one['ms'][n]['median']:.1f}" for one in guards]
        for n in ("32", "128", "512")
    } | {
        "start of a process to a first score, s": [
            f"{one['start_s']['median']:.2f}" for one in guards
        ],
        "memory of the process's own, MB": [
            f"{one['memory_mb']['first_score']:.0f}" for one in guards
        ],
        "the guard's folder, MB": [f"{one['bundle']['bytes'] / 1e6:.1f}" for one in guards],
    }
    for title, cells in expected.items():
        found = re.search(rf"^\| {re.escape(title)} +((?:\| +[\d.]+ +)+)\|$", README, re.MULTILINE)
        assert found is not None, title
        assert re.findall(r"[\d.]+", found[1]) == cells, title
