"""Diversity: figures whose values are known, and pictures of odd sets."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from harmguard.errors import StageError
from harmguard.training.harmaug import smoke as world
from harmguard.training.harmaug.diversity import draw, embed, figures

VARIED = world.instructions(world.RUDE)[::23]


def test_distinct_ngrams_by_hand() -> None:
    found = figures(["a rude note", "a rude song"], ["same same same same"], 0)
    assert found["exemplars"] == {"distinct_1": 0.6667, "distinct_2": 0.75, "distinct_3": 1.0}
    assert found["generated"] == {"distinct_1": 0.25, "distinct_2": 0.3333, "distinct_3": 0.5}


def test_one_repeated_text_covers_one_cluster() -> None:
    found = figures(VARIED, [VARIED[0]] * len(VARIED), 0)
    clusters = found["clusters"]
    assert clusters["generated"]["covered"] == pytest.approx(1 / clusters["count"])
    assert clusters["generated"]["effective"] == 1.0
    assert clusters["exemplars"]["effective"] > 5


def test_embeddings_are_unit_vectors_and_the_same_every_time() -> None:
    both = embed(VARIED, VARIED[:7], 0)
    again = embed(VARIED, VARIED[:7], 0)
    assert both is not None
    assert again is not None
    assert np.linalg.norm(both[0], axis=1) == pytest.approx(1.0, abs=1e-4)
    assert both[1] == pytest.approx(both[0][:7], abs=1e-4)
    assert (both[0] == again[0]).all()


@pytest.mark.parametrize("texts", [["x"], ["? !", "..."], ["one word"]])
def test_sets_too_small_to_embed(texts: list[str], tmp_path: Path) -> None:
    assert figures(texts, texts, 0)["clusters"] is None or len(texts[0]) > 3
    draw(tmp_path / "d.png", texts, texts, 0)
    assert (tmp_path / "d.png").read_bytes()[:4] == b"\x89PNG"


def test_a_picture_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StageError, match=r"d.png: cannot be written \(No such file"):
        draw(tmp_path / "gone" / "d.png", VARIED, VARIED[:7], 0)

    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StageError, match="likely the disk or the quota is full"):
        draw(tmp_path / "d.png", VARIED, VARIED[:7], 0)
    assert list(tmp_path.iterdir()) == []
