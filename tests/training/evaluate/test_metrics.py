from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score, roc_curve

from harmguard.errors import DataError
from harmguard.training.evaluate import metrics


def sample(n: int = 400, seed: int = 0) -> tuple[metrics.Ints, metrics.Floats]:
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.4).astype(np.int64)
    # Two decimals give many ties, which the curves must treat as one threshold.
    p = np.round(1 / (1 + np.exp(-(rng.normal(size=n) + 1.5 * y - 0.7))), 2)
    return y, p


def test_point_metrics_by_hand() -> None:
    found = metrics.point_metrics([1, 1, 0, 1, 0], [0.9, 0.8, 0.7, 0.4, 0.1], 0.5)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["fpr"] == pytest.approx(1 / 2)
    assert found["auprc"] == pytest.approx(1 / 3 + 1 / 3 + 3 / 4 / 3)
    assert found["auroc"] == pytest.approx(5 / 6)
    assert found["recall_at_fpr_1"] == pytest.approx(2 / 3)


def test_a_score_equal_to_the_threshold_is_flagged() -> None:
    found = metrics.point_metrics([1, 0], [0.5, 0.4], 0.5)
    assert (found["recall"], found["fpr"]) == (1.0, 0.0)


def test_nothing_flagged_has_precision_and_f1_zero() -> None:
    found = metrics.point_metrics([1, 0], [0.5, 0.4], 0.9)
    assert (found["precision"], found["f1"], found["recall"]) == (0.0, 0.0, 0.0)


def test_recall_at_fpr_is_the_best_point_of_the_roc_curve() -> None:
    y, p = sample()
    fpr, tpr, _ = roc_curve(y, p)
    assert metrics.recall_at_fpr(y, p, 0.05) == pytest.approx(tpr[fpr <= 0.05].max())
    assert metrics.recall_at_fpr([1, 0], [0.2, 0.9], 0.01) == 0.0


def test_calibration_error_by_hand() -> None:
    # Bin of .5: mean score .5, half harmful. Bin of .9: mean score .9, one third harmful.
    y, p = [1, 0, 1, 0, 0], [0.5, 0.5, 0.9, 0.9, 0.9]
    assert metrics.calibration_error(y, p, 10) == pytest.approx(3 / 5 * (0.9 - 1 / 3))
    assert metrics.calibration_error([1], [1.0]) == 0.0


def test_reliability_leaves_empty_bins_out() -> None:
    bins = metrics.reliability([1, 0, 1], [0.95, 0.91, 0.05], 10)
    assert [b["n"] for b in bins] == [1, 2]
    assert bins[1]["value"] == 0.5
    assert bins[1]["score"] == pytest.approx(0.93)


def test_wilson_by_hand() -> None:
    # 10 of 100 at 95 %: Wilson 1927 gives .0552 to .1744.
    found = metrics.wilson(10, 100)
    assert (round(found.low, 4), found.value, round(found.high, 4)) == (0.0552, 0.1, 0.1744)
    assert metrics.wilson(0, 5).low == 0.0
    assert metrics.wilson(5, 5).high == 1.0


def test_weighted_metrics_equal_sklearn_with_sample_weights() -> None:
    y, p = sample()
    rng = np.random.default_rng(1)
    weights = rng.integers(0, 4, size=(5, y.size)).astype(np.float64)
    found = metrics.weighted_metrics(y, p, 0.5, weights)
    for i, w in enumerate(weights):
        assert found["auprc"][i] == pytest.approx(average_precision_score(y, p, sample_weight=w))
        assert found["auroc"][i] == pytest.approx(roc_auc_score(y, p, sample_weight=w))
        assert found["f1"][i] == pytest.approx(f1_score(y, p >= 0.5, sample_weight=w))
        fpr, tpr, _ = roc_curve(y, p, sample_weight=w, drop_intermediate=False)
        assert found["recall_at_fpr_5"][i] == pytest.approx(tpr[fpr <= 0.05].max())


def test_weights_of_one_give_the_point_metrics() -> None:
    y, p = sample()
    found = metrics.weighted_metrics(y, p, 0.37, np.ones((1, y.size)))
    for name, value in metrics.point_metrics(y, p, 0.37).items():
        assert found[name][0] == pytest.approx(value), name


def test_a_replicate_equals_the_metrics_of_the_rows_it_drew() -> None:
    y, p = sample(60)
    (weights,) = metrics._replicates(y, 3, np.random.default_rng(0))
    found = metrics.weighted_metrics(y, p, 0.5, weights)
    for i, w in enumerate(weights.astype(int)):
        drawn = metrics.point_metrics(np.repeat(y, w), np.repeat(p, w), 0.5)
        for name, value in drawn.items():
            assert found[name][i] == pytest.approx(value), name


def test_replicates_keep_the_size_of_every_stratum() -> None:
    groups = np.array([0, 0, 0, 1, 2, 2])
    for weights in metrics._replicates(groups, 50, np.random.default_rng(0)):
        for g, size in ((0, 3), (1, 1), (2, 2)):
            assert (weights[:, groups == g].sum(axis=1) == size).all()


def test_bootstrap_is_seeded_and_its_spread_is_that_of_the_metric() -> None:
    y, p = sample(2000)
    first = metrics.bootstrap(y, p, 0.5, n=500, seed=3)
    again = metrics.bootstrap(y, p, 0.5, n=500, seed=3)
    other = metrics.bootstrap(y, p, 0.5, n=500, seed=4)
    assert (first["auprc"] == again["auprc"]).all()
    assert (first["auprc"] != other["auprc"]).any()
    recall = metrics.point_metrics(y, p, 0.5)["recall"]
    expected = math.sqrt(recall * (1 - recall) / y.sum())
    assert first["recall"].std() == pytest.approx(expected, rel=0.15)


def test_bootstrap_in_chunks_has_every_replicate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_CHUNK_CELLS", 500)
    y, p = sample(100)
    assert metrics.bootstrap(y, p, 0.5, n=12)["f1"].shape == (12,)


def test_strata_narrow_the_interval_of_a_mixture() -> None:
    y = np.tile([0, 1], 200)
    p = np.repeat([0.1, 0.9], 200)  # the second source is flagged in full
    strata = np.repeat(["quiet", "loud"], 200)
    plain = metrics.bootstrap(y, p, 0.5, n=200)["recall"]
    kept = metrics.bootstrap(y, p, 0.5, strata=strata, n=200)["recall"]
    assert plain.std() > 0.01
    assert kept.std() == 0


def test_an_interval_holds_its_value_where_resampling_is_biased() -> None:
    y, p = sample(300)
    value = metrics.calibration_error(y, p)
    found = metrics.interval(value, metrics.bootstrap(y, p, 0.5)["ece"])
    assert found.low < value < found.high


@settings(deadline=None)
@given(st.data())
def test_metrics_and_intervals_lie_within_zero_and_one(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 30))
    y = [1, 0, *data.draw(st.lists(st.integers(0, 1), min_size=n - 2, max_size=n - 2))]
    p = data.draw(st.lists(st.floats(0, 1), min_size=n, max_size=n))
    threshold = data.draw(st.floats(0, 1))
    point = metrics.point_metrics(y, p, threshold)
    drawn = metrics.bootstrap(y, p, threshold, n=20)
    for name in metrics.NAMES:
        found = metrics.interval(point[name], drawn[name])
        assert -1e-12 <= found.low <= found.value <= found.high <= 1 + 1e-12
        assert np.isfinite(drawn[name]).all()


def test_one_class_is_an_error() -> None:
    with pytest.raises(DataError, match=r"only safe rows \(3\); expected both labels"):
        metrics.point_metrics([0, 0, 0], [0.1, 0.2, 0.3], 0.5)
    with pytest.raises(DataError, match=r"only harmful rows \(2\)"):
        metrics.bootstrap([1, 1], [0.1, 0.2], 0.5)


def test_no_rows_is_an_error() -> None:
    with pytest.raises(DataError, match="found no rows"):
        metrics.as_arrays([], [])


def test_other_labels_are_an_error() -> None:
    with pytest.raises(DataError, match="1 labels that are neither 0 nor 1, the first at index 2"):
        metrics.as_arrays([0, 1, 2], [0.1, 0.2, 0.3])


@pytest.mark.parametrize("bad", [-0.1, 1.5, math.nan, math.inf])
def test_scores_outside_zero_and_one_are_an_error(bad: float) -> None:
    with pytest.raises(DataError, match=r"1 scores outside \[0, 1\], the first at index 1"):
        metrics.as_arrays([0, 1], [0.1, bad])


def test_lengths_that_differ_are_an_error() -> None:
    with pytest.raises(DataError, match=r"labels of shape \(2,\) and scores of shape \(1,\)"):
        metrics.as_arrays([0, 1], [0.1])


def test_an_impossible_share_is_an_error() -> None:
    with pytest.raises(DataError, match="found 3 of 2 rows"):
        metrics.wilson(3, 2)
