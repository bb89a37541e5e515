"""report and cells: pages from raw results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.harness.cells import machine
from benchmarks.harness.errors import PageError
from benchmarks.harness.results import RESULTS, ROOT, write_json, write_text

HEAD: Any = {
    "quick": False,
    "started": "2026-01-02T03:04:05+00:00",
    "threads": 2,
    "machine": {
        "cpu": None,
        "features": ["avx2"],
        "cores": 4,
        "cores_allowed": 2,
        "memory_mb": None,
        "memory_limit_mb": 512,
        "load_average": 0.25,
        "os": "Linux",
        "python": "3.11.1",
        "packages": {"numpy": "2.0", "torch": None},
    },
    "bundle": {
        "name": "mini",
        "version": "1",
        "status": "trial",
        "recipe": "int8",
        "bytes": 23_400_000,
        "sha256": {"guard.json": "ab" * 32},
    },
}


def taken(median: float, p99: float | None = None) -> dict[str, Any]:
    return {"n": 100, "median": median, "p90": 2 * median, "p99": p99, "spread": 0.125}


def times(fastest: float) -> dict[str, float]:
    return {"fastest": fastest, "low": fastest - 0.5, "high": fastest + 0.5}


def speed() -> Any:
    mode = {
        "ms": {"harmguard": taken(1, 3), "torch": taken(5), "optimum": taken(2)},
        "times_harmguard": {"torch": times(5), "optimum": times(2)},
    }
    error = {"harmguard": {"max": 0.01}, "optimum": {"max": 0.02}}
    lengths = [{"tokens": n, "text": mode, "ids": mode, "score_error": error} for n in (16, 32)]
    return HEAD | {"benchmark": "speed", "lengths": lengths}


def bulk() -> Any:
    return HEAD | {
        "benchmark": "bulk",
        "parts": 4,
        "pairs": 2000,
        "optimum_batch": 1,
        "optimum_search_s": {"1": 3.0, "2": 4.0},
        "seconds": {"score_many": taken(10), "one_by_one": taken(12), "optimum": taken(20)},
        "times_score_many": {"one_by_one": times(1.2), "optimum": times(2)},
    }


def startup() -> Any:
    steps = ("python", "import", "load", "first_score", "total")
    memory = ("import", "load", "first_score", "long_score", "batch_peak", "after_batch")
    return HEAD | {
        "benchmark": "startup",
        "startup_s": {step: taken(0.25) for step in steps},
        "memory_mb": dict.fromkeys(memory, 50.5) | {"batch_peak": None},
        "memory_runs_mb": [{}, {}],
        "batch": 256,
        "long_tokens": 504,
    }


def longtext() -> Any:
    share = {"count": 4, "n": 5, "share": 0.8, "low": 0.4, "high": 0.9}
    nothing = {"count": 0, "n": 0, "share": None, "low": 0.0, "high": 1.0}
    pairs = {"benign_flagged": share, "harmful_missed": nothing}
    return HEAD | {
        "benchmark": "longtext",
        "needles": {
            "hay_tokens": 3000,
            "hay_flagged": share,
            "places": {"start": share, "middle": share, "end": share},
            "all": share,
        },
        "pairs": {
            "threshold": 0.5,
            "middle": pairs,
            "long": pairs,
            "worse_by": {"benign_flagged": 0.0, "harmful_missed": None},
        },
    }


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for made in (speed(), bulk(), startup(), longtext()):
        write_json(tmp_path / f"{made['benchmark']}.json", made)
    return tmp_path


def test_every_row_of_a_table_has_the_same_columns(results: Path) -> None:
    for block in report.render(report.read(results)).values():
        for part in block.split("\n\n"):
            widths = {line.count("|") for line in part.splitlines() if line.startswith("|")}
            assert len(widths) <= 1, part


def test_cells(results: Path) -> None:
    blocks = {
        name: re.sub(" +", " ", text) for name, text in report.render(report.read(results)).items()
    }
    assert "| 16 | 1.0 (2.0, 3.0; 12%) | 5.0 (10.0; 12%) |" in blocks["speed"]
    assert "| 5.00 (4.50 to 5.50) | 2.00 (1.50 to 2.50) |" in blocks["speed"]
    assert "| harmguard `score_many` | 10.0 | 200.0 | 1 |" in blocks["bulk"]
    assert "peak of a batch of 256 pairs of 504 tokens | unknown |" in blocks["startup"]
    assert "| harmful missed | none, n = 0 | none, n = 0 | unknown |" in blocks["longtext"]
    assert "| harmguard | 1.0 | 200 |" in blocks["summary"]


def test_machine_says_unknown_and_leaves_absent_packages_out() -> None:
    text = machine(HEAD)
    assert text.startswith("unknown (avx2), 2 of 4 cores allowed, unknown MB of memory (512 allo")
    assert "numpy 2.0;" in text
    assert "torch" not in text


def test_unmeasured_benchmarks_say_so(tmp_path: Path) -> None:
    assert report.render(report.read(tmp_path))["summary"] == report.NOT_MEASURED


def test_another_machines_run_has_tables_of_its_own(results: Path) -> None:
    other = speed()
    other["machine"] = other["machine"] | {"cpu": "another"}
    write_json(results / "zen4" / "speed.json", other)
    blocks = report.render(report.read(results))
    assert "Machine: another (avx2)" in blocks["zen4/speed"]
    assert "Machine: unknown (avx2)" in blocks["speed"]


def test_filling_again_changes_nothing(results: Path) -> None:
    blocks = report.render(report.read(results))
    page = "a\n<!-- benchmarks:speed -->\nold\n<!-- /benchmarks:speed -->\nb\n"
    filled = report.fill(page, blocks, "README.md")
    assert filled.startswith("a\n<!-- benchmarks:speed -->\nFrom text")
    assert filled.endswith("<!-- /benchmarks:speed -->\nb\n")
    assert report.fill(filled, blocks, "README.md") == filled


def test_wrong_markers() -> None:
    with pytest.raises(PageError, match=r"README.md: marker 'spede' is unknown; expected one"):
        report.fill("<!-- benchmarks:spede -->", {"speed": ""}, "README.md")
    with pytest.raises(PageError, match=r"README.md: marker 'speed' is not closed"):
        report.fill("<!-- benchmarks:speed -->", {"speed": ""}, "README.md")


def test_the_committed_pages_are_what_the_committed_results_render() -> None:
    results = report.read(RESULTS)
    blocks = report.render(results)
    for page in report.PAGES:
        if page.exists():
            text = page.read_text(encoding="utf-8")
            assert report.fill(text, blocks, page.name) == text, "run python -m benchmarks report"
    for name, result in results.items():
        page = RESULTS / f"{name}.md"
        assert page.read_text(encoding="utf-8") == report.page(name, result), page.name


def test_every_committed_result_has_a_page_and_no_picture_is_large() -> None:
    files = {path for path in RESULTS.rglob("*.json") if ".partial" not in path.name}
    files = {path for path in files if ".quick" not in path.name}
    assert {str(path.relative_to(RESULTS))[:-5] for path in files} == set(report.read(RESULTS))
    for picture in RESULTS.rglob("*.svg"):
        assert picture.stat().st_size < 100_000, picture.name
    assert (ROOT / "benchmarks" / "README.md").stat().st_size <= 12 * 1024


def test_results_are_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "speed.json"
    write_json(path, {"a": 1})
    write_json(path, {"a": 2})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    with pytest.raises(UnicodeEncodeError, match="surrogates"):
        write_text(path, "\ud800")
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 2}
    assert [p.name for p in path.parent.iterdir()] == ["speed.json"]
