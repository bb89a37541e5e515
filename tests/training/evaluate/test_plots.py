from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from harmguard.training.evaluate import plots
from harmguard.training.evaluate.scored import Scored

REPORT = {"thresholds": {"prompt": 0.5, "exchange": 0.3}}


def rows(kind: str, labels: list[int]) -> list[Scored]:
    rng = np.random.default_rng(0)
    return [
        Scored(str(i), float(rng.random() * 0.5 + 0.4 * y), y, "s", kind)
        for i, y in enumerate(labels)
    ]


def test_pictures_are_opaque_and_not_blank(tmp_path: Path) -> None:
    both = rows("prompt", [0, 1] * 40) + rows("exchange", [0, 0, 1] * 40)
    made = plots.draw(tmp_path, both, REPORT)
    assert [p.name for p in made] == list(plots.PICTURES)
    for path in made:
        pixels = imread(path)
        assert pixels.shape[2] == 3 or (pixels[..., 3] == 1).all()
        assert (pixels[0, :, :3] == 1).all()  # a white margin: nothing runs out of the picture
        assert pixels[..., :3].std() > 0.05


@pytest.mark.parametrize("kind", ["prompt", "exchange"])
def test_one_kind_of_input_has_its_pictures(tmp_path: Path, kind: str) -> None:
    assert len(plots.draw(tmp_path, rows(kind, [0, 1, 1]), REPORT)) == 3


def test_one_label_has_a_histogram_only(tmp_path: Path) -> None:
    made = plots.draw(tmp_path, rows("prompt", [0] * 9), REPORT)
    assert [p.name for p in made] == ["histogram.png"]


def test_the_curve_is_labelled_with_its_area_and_its_threshold() -> None:
    y, p = np.array([0, 1, 1]), np.array([0.1, 0.4, 0.9])
    figure = plots._precision_recall({"prompt": (y, p)}, {"prompt": 0.5})
    (axes,) = figure.axes
    texts = [t.get_text() for t in figure.legends[0].get_texts()]
    assert texts[:2] == ["prompts: AUPRC 1.000, n = 3", "prompts at threshold 0.5"]
    assert axes.get_xlabel().startswith("recall")
    assert axes.get_ylabel().startswith("precision")
    # The marker is where the threshold is: one of two harmful rows flagged, and no safe one.
    assert np.array(axes.lines[1].get_xydata()).tolist() == [[0.5, 1.0]]
