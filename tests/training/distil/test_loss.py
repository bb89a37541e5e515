from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from harmguard.checkpoint import load_student
from harmguard.core.encode import Window
from harmguard.rows import read_rows
from harmguard.training.distil.batches import Collator
from harmguard.training.distil.config import Config, Data, Loss, Student
from harmguard.training.distil.distill import _rows
from harmguard.training.distil.loss import WIDE, distillation_loss
from tests.training import tiny

NAN = math.nan
LOGITS = torch.tensor([[0.3, -1.2], [2.0, 0.5], [-0.4, 0.9]])
LABELS = torch.tensor([1, 0, 1])
WEIGHT = torch.tensor([1.0, 2.0, 0.5])
SOFT = [0.0, 1e-9, 1e-4, 0.2, 0.5, 0.9, 0.999999, 1 - 1e-9, 1.0, NAN]


def _reference(z: list[float], y: int, p: float, w: float, lam: float, t: float) -> float:
    """The paper's formula for one row, in the plainest float64."""
    hard = math.log(sum(math.exp(v) for v in z)) - z[y]
    if math.isnan(p):
        return w * hard
    raised = [math.pow(1 - p, 1 / t), math.pow(p, 1 / t)]
    teacher = [v / sum(raised) for v in raised]
    student = [math.exp(v / t) for v in z]
    student = [v / sum(student) for v in student]
    kl = sum(a * math.log(a / b) for a, b in zip(teacher, student, strict=True) if a > 0)
    return w * (lam * hard + (1 - lam) * t * t * kl)


def test_without_soft_labels_it_is_weighted_cross_entropy() -> None:
    loss = distillation_loss(LOGITS, LABELS, torch.full((3,), NAN), WEIGHT, lambda_hard=0.2)
    expected = (F.cross_entropy(LOGITS, LABELS, reduction="none") * WEIGHT).sum()
    torch.testing.assert_close(loss.float(), expected)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_equals_the_paper_s_formula(lam: float, temperature: float) -> None:
    rows = [
        (z, y, p, w)
        for p in SOFT
        for z in ([0.3, -1.2], [-0.4, 0.9], [12.0, -11.0])
        for y, w in ((0, 2.0), (1, 0.5))
    ]
    z, y, p, w = zip(*rows, strict=True)
    logits = torch.tensor(z, requires_grad=True)
    soft, weight = torch.tensor(p, dtype=torch.float64), torch.tensor(w)
    labels = torch.tensor(y)

    def loss(rows: slice) -> torch.Tensor:
        return distillation_loss(
            logits[rows], labels[rows], soft[rows], weight[rows],
            lambda_hard=lam, temperature=temperature,
        )  # fmt: skip

    exact = logits.detach().double().tolist()  # -1.2 is another number in float32
    expected = [
        _reference(a, b, c, d, lam, temperature) for a, b, c, d in zip(exact, y, p, w, strict=True)
    ]
    for i, value in enumerate(expected):
        assert loss(slice(i, i + 1)).item() == pytest.approx(value, rel=0, abs=1e-6), rows[i]
    total = loss(slice(None))
    assert total.item() == pytest.approx(sum(expected), rel=0, abs=1e-6)
    (gradient,) = torch.autograd.grad(total, logits)
    assert torch.isfinite(gradient).all()


def test_a_soft_label_keeps_its_precision_from_the_file_to_the_batch(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": "a", "soft": p}) + "\n" for p in SOFT[:-1]))
    rows = read_rows(path)
    window = Window(np.array([1, 2]), np.array([0, 0]))
    config = Config(Student("student"), Data([str(path)]))
    student = load_student(tiny.student(tmp_path / "student", "bert"), 64)
    collator = Collator(rows, [window] * len(rows), config, student)
    assert (
        collator(range(len(rows)))["soft"].tolist() == torch.tensor(SOFT[:-1], dtype=WIDE).tolist()
    )
    assert WIDE is (torch.float32 if torch.backends.mps.is_available() else torch.float64)


@pytest.mark.parametrize(("from_soft", "hard"), [(False, [1, 0, 1, 0]), (True, [0, 1, 1, 0])])
def test_hard_labels_are_the_rows_own_or_the_teacher_s(
    tmp_path: Path, from_soft: bool, hard: list[int]
) -> None:
    path = tmp_path / "rows.jsonl"
    values = ({"label": 1, "soft": 0.5}, {"label": 0, "soft": 0.51}, {"label": 1}, {"soft": 0.1})
    path.write_text("".join(json.dumps({"prompt": "a", **value}) + "\n" for value in values))
    loss = Loss(hard_from_soft=from_soft)
    rows = _rows(Config(Student("student"), Data([str(path)]), loss))
    assert [row.hard for row in rows] == hard
