from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harmguard import Cascade, HarmGuard
from harmguard.cascade import CascadeFit, Scale
from harmguard.cli import main
from harmguard.core.scores import sigmoid
from harmguard.errors import ConfigError, DataError, OutputExistsError
from harmguard.training.evaluate.calibrate import calibrate
from harmguard.training.evaluate.cascade_fit import (
    allowed,
    calibrate_cascade,
    fit_band,
    fit_kind,
    fit_scale,
    merged,
)
from harmguard.training.evaluate.metrics import Floats, Ints, point_metrics

Writer = Callable[..., Path]


def two_guards(n: int, seed: int) -> tuple[Floats, Floats, Ints]:
    """A noisy guard's scores, a better one's, labels."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 2, n)
    labels = (rng.random(n) < sigmoid(truth)).astype(np.int64)
    small = sigmoid(2.5 * (truth + rng.normal(0, 2.0, n)) + 1)
    return small, sigmoid(0.6 * (truth + rng.normal(0, 0.3, n)) - 1), labels


def test_both_scales_give_probabilities_of_the_same_thing() -> None:
    small, large, labels = two_guards(20_000, 0)
    weights = np.where(labels == 1, 1 / labels.sum(), 1 / (labels.size - labels.sum()))
    for scores in (small, large):
        p = fit_scale(scores, labels).of(scores)
        assert float((weights * p).sum()) == pytest.approx(1.0, abs=1e-3)
        near = (0.4 < p) & (p < 0.6)
        share = weights[near & (labels == 1)].sum() / weights[near].sum()
        assert share == pytest.approx(0.5, abs=0.05)


def test_a_scale_keeps_the_order_whatever_the_labels() -> None:
    rng = np.random.default_rng(1)
    scores = rng.random(200)
    scale = fit_scale(scores, (scores < 0.5).astype(np.int64))
    assert scale.slope > 0
    perfect = fit_scale(scores, (scores > 0.5).astype(np.int64))
    assert np.isfinite([perfect.slope, perfect.offset]).all()
    with pytest.raises(DataError, match="one label in all 200 rows"):
        fit_scale(scores, np.ones(200, np.int64))


def test_the_band_holds_its_bound_on_rows_that_it_has_not_seen() -> None:
    small, large, labels = two_guards(6000, 2)
    fit, other = slice(0, 3000), slice(3000, None)
    p = fit_scale(small[fit], labels[fit]).of(small)
    q = fit_scale(large[fit], labels[fit]).of(large)
    for bound in (0.1, 0.25, 0.5):
        band = fit_band(p[fit], q[fit], labels[fit], bound)
        assert band is not None
        up = (band[0] <= p[other]) & (p[other] <= band[1])
        assert up[labels[other] == 0].mean() <= bound + 0.02
        better = point_metrics(labels[other], merged(p, q, band)[other], 0.5)["auprc"]
        assert better > point_metrics(labels[other], p[other], 0.5)["auprc"]


def test_a_weaker_large_guard_gets_no_band() -> None:
    small, large, labels = two_guards(3000, 3)
    noise = np.random.default_rng(0).random(3000)
    assert fit_band(large, noise, labels, 0.3) is None
    assert (merged(large, noise, None) == large).all()
    assert fit_band(large, small, labels, 1e-9) is None


def test_few_rows_go_up_less_than_the_bound() -> None:
    assert allowed(100, 0.25) == 17
    assert allowed(10_000, 0.25) == 2428
    assert allowed(5, 0.1) == 0
    assert allowed(100, 1.0) == 100


def test_few_rows_are_refused() -> None:
    small, large, labels = two_guards(30, 4)
    with pytest.raises(DataError, match=r"exchange: .* expected at least 20 of each"):
        fit_kind(small, large, labels, ["a"] * 30, "exchange", 0.25)


def labelled(n: int) -> list[dict[str, object]]:
    rng = np.random.default_rng(5)
    rows: list[dict[str, object]] = []
    for number, word in enumerate(rng.integers(0, 81, n)):
        harmful = rng.random() < 1 / (1 + np.exp(6 - 0.15 * word))
        text = f"word{word:02}"
        exchange = number % 2
        rows.append({
            "id": f"r{number}", "prompt": "word40" if exchange else text, "label": int(harmful),
            "response": text if exchange else "", "task": "response" if exchange else "prompt",
            "source": "mixed",
        })  # fmt: skip
    return rows


def test_the_command_fits_two_bundles(
    word_bundle: Path, write_rows: Writer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(labelled(600))
    calibrate(word_bundle, data, tmp_path / "large", threads=1)
    out = tmp_path / "cascade.json"
    command = ["calibrate", str(word_bundle), str(data), str(out), "--threads", "1"]
    command += ["--cascade", str(tmp_path / "large"), "--bound", "0.5"]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0].startswith("prompt band none, 0.0% of")
    # The same model twice: nothing is gained by asking it again.
    assert "prompt: no band is better than the small guard alone" in printed.err
    fit = CascadeFit.read(out)
    assert fit.set.startswith("set.jsonl (sha256 ") or "sha256" in fit.set
    assert isinstance(fit.kinds["prompt"].small, Scale)
    with HarmGuard(word_bundle, threads=1) as small, HarmGuard(tmp_path / "large") as large:
        assert (fit.small, fit.large) == (small.digest, large.digest)
        with Cascade(small, large, out) as cascade:
            assert 0 <= cascade.score("word40", "word70") <= 1
    assert main(command) == 3
    assert "exists; expected a new path" in capsys.readouterr().err


def test_errors_of_the_command(word_bundle: Path, write_rows: Writer, tmp_path: Path) -> None:
    data = write_rows(labelled(100))
    for bound in (0.0, 1.5):
        with pytest.raises(ConfigError, match="expected a share above 0, at most 1"):
            calibrate_cascade(word_bundle, word_bundle, data, tmp_path / "o", bound=bound)
    with pytest.raises(OutputExistsError):
        calibrate_cascade(word_bundle, word_bundle, data, tmp_path, bound=0.2)
    bare = tmp_path / "bare.jsonl"
    bare.write_text(json.dumps({"prompt": "word01"}) + "\n")
    with pytest.raises(DataError, match="1 of 1 rows without a label"):
        calibrate_cascade(word_bundle, word_bundle, bare, tmp_path / "o", bound=0.2)
