from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harmguard import HarmfulStreamError, HarmGuard
from harmguard.bundle import open_bundle
from harmguard.rows import read_rows
from harmguard.training.evaluate.calibrate import calibrate
from harmguard.training.evaluate.scoring import score_bundle, score_streams
from harmguard.training.evaluate.thresholds import stream_threshold

Writer = Callable[..., Path]


def answers(n: int, seed: int = 3) -> list[dict[str, Any]]:
    """Answers of four lines, whose highest score is often not the last one's."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(n):
        words = rng.integers(0, 81, 4)
        harmful = rng.random() < 1 / (1 + np.exp(-(-6 + 0.15 * max(words)) / 3.0))
        text = "".join(f"word{word:02} " + "word40 " * 15 + "\n" for word in words)
        rows.append({"id": f"r{number}", "prompt": "word40", "response": text, "task": "response",
                     "label": int(harmful), "source": "mixed"})  # fmt: skip
    return rows


def test_the_point_is_the_lowest_that_stops_no_more() -> None:
    rng = np.random.default_rng(0)
    whole = rng.random(500)
    highest = np.maximum(whole, rng.random(500))
    value = stream_threshold(whole, highest, 0.8)
    assert value is not None
    limit = (whole >= 0.8).mean()
    assert (highest >= value).mean() <= limit
    assert (highest >= value - 0.0002).mean() > limit - 0.01
    assert stream_threshold(whole, whole, 0.8) == pytest.approx(0.8, abs=0.01)
    assert stream_threshold(whole, np.ones(500), 0.999) is None


def test_calibrate_fits_the_point_that_streams_of_the_bundle_use(
    word_bundle: Path, write_rows: Writer, tmp_path: Path
) -> None:
    data = write_rows(answers(120))
    result = calibrate(word_bundle, data, tmp_path / "out", threads=1)
    points = open_bundle(tmp_path / "out").manifest.thresholds["exchange"]
    assert points["stream"].rule.startswith("lowest that stops no more safe answers")
    figures = result.metrics["exchange"]
    assert figures["stream"]["fpr"] <= figures["default"]["fpr"]
    rows = read_rows(data)
    stopped = 0
    with HarmGuard(tmp_path / "out", threads=1) as guard:
        highest = score_streams(guard, rows, score_bundle(guard, rows))
        for row, score in zip(rows, highest, strict=True):
            try:
                list(guard.stream(row.prompt, [row.response or ""]))
                assert score < points["stream"].value
            except HarmfulStreamError:
                assert score >= points["stream"].value
                stopped += row.label == 0
    safe = sum(row.label == 0 for row in rows)
    assert stopped / safe == pytest.approx(figures["stream"]["fpr"], abs=1e-6)


def test_few_answers_give_no_point(word_bundle: Path, write_rows: Writer, tmp_path: Path) -> None:
    prompts = [
        {"id": f"p{n}", "prompt": f"word{n % 80:02}", "label": int(n % 80 > 40), "task": "prompt"}
        for n in range(100)
    ]
    data = write_rows([*answers(10), *prompts])
    result = calibrate(word_bundle, data, tmp_path / "out", threads=1)
    assert "stream" not in result.thresholds["exchange"]
    assert json.dumps(result.thresholds)
