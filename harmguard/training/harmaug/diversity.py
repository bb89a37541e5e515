"""How varied generated instructions are, beside the exemplars that they grew from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from harmguard.core.files import new_file
from harmguard.training.stage import unwritable

Floats = npt.NDArray[np.float64]

DIMENSIONS = 64
CLUSTERS = 50
SAMPLE = 5_000  # texts of each side that are embedded


def figures(exemplars: Sequence[str], generated: Sequence[str], seed: int) -> dict[str, Any]:
    """Distinct n-grams of both sides, and the clusters of their embeddings.

    distinct_n: different word n-grams over all of them, in [0, 1]; it falls as a set grows,
    so compare sets of one size. clusters: k-means over the embeddings of both sides;
    `covered`, the share of clusters that a side has a text in; `effective`, exp of the
    entropy of its shares: the number of equally large clusters that would be as varied.
    """
    both = embed(exemplars, generated, seed)
    found = {
        name: {f"distinct_{n}": _distinct(texts, n) for n in (1, 2, 3)}
        for name, texts in (("exemplars", exemplars), ("generated", generated))
    }
    if both is None:
        return {**found, "clusters": None}
    left, right = both
    count = max(2, min(CLUSTERS, (len(left) + len(right)) // 4))
    points = np.concatenate([left, right])
    count = min(count, len(np.unique(points, axis=0)))
    of = KMeans(count, n_init=3, random_state=seed).fit_predict(points)
    sides = {"exemplars": of[: len(left)], "generated": of[len(left) :]}
    clusters = {
        name: {"covered": len(set(members)) / count, "effective": _effective(members)}
        for name, members in sides.items()
    }
    return {**found, "clusters": {"count": count, **clusters}}


def embed(
    exemplars: Sequence[str], generated: Sequence[str], seed: int
) -> tuple[Floats, Floats] | None:
    """Unit vectors [texts, dimensions] of both sides, from the texts alone: LSA of TF-IDF.

    At most SAMPLE texts of each. None when there are too few words to tell texts apart.
    """
    rng = np.random.default_rng(seed)
    sides = [
        [texts[i] for i in sorted(rng.permutation(len(texts))[:SAMPLE])]
        for texts in (exemplars, generated)
    ]
    texts = sides[0] + sides[1]
    try:
        table = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)).fit_transform(texts)
    except ValueError:  # no word of two letters
        return None
    size = min(DIMENSIONS, min(table.shape) - 1)
    if size < 2:
        return None
    reduced = normalize(TruncatedSVD(size, random_state=seed).fit_transform(table))
    # Rounded, since the last bits depend on the machine's linear algebra.
    vectors: Floats = np.asarray(reduced, np.float64).round(6)
    return vectors[: len(sides[0])], vectors[len(sides[0]) :]


def draw(path: Path, exemplars: Sequence[str], generated: Sequence[str], seed: int) -> None:
    """A picture of both sides in the two directions in which the embeddings differ most.

    Raises StageError when it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    both = embed(exemplars, generated, seed)
    if both is not None:
        points = np.concatenate(both)
        centred = points - points.mean(0)
        plane = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
        cut = len(both[0])
        for part, name, size in (
            (plane[cut:], f"generated ({len(generated):,})", 8),
            (plane[:cut], f"exemplars ({len(exemplars):,})", 14),
        ):
            axes.scatter(part[:, 0], part[:, 1], s=size, alpha=0.6, label=name)
        axes.legend()
    axes.set_title("Embeddings of instructions, two main directions")
    axes.set_xticks([])
    axes.set_yticks([])
    try:
        with new_file(path, replace=True) as file:
            figure.savefig(file, format="png", dpi=120)
    except OSError as error:
        raise unwritable(path.name, error) from None


def _distinct(texts: Sequence[str], n: int) -> float | None:
    grams: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        words = re.findall(r"\w+", text.casefold())
        grams.update(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    return round(len(grams) / grams.total(), 4) if grams else None


def _effective(members: npt.NDArray[Any]) -> float:
    shares = np.bincount(members) / max(len(members), 1)
    shares = shares[shares > 0]
    return round(float(np.exp(-(shares * np.log(shares)).sum())), 2)
