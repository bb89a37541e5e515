from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from harmguard.training.loss import distillation_loss

NAN = math.nan
LOGITS = torch.tensor([[0.3, -1.2], [2.0, 0.5], [-0.4, 0.9]])
LABELS = torch.tensor([1, 0, 1])
WEIGHT = torch.tensor([1.0, 2.0, 0.5])


def test_without_soft_labels_it_is_weighted_cross_entropy() -> None:
    loss = distillation_loss(LOGITS, LABELS, torch.full((3,), NAN), WEIGHT, lambda_hard=0.2)
    expected = (F.cross_entropy(LOGITS, LABELS, reduction="none") * WEIGHT).sum()
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_equals_the_paper_s_formula_row_by_row(lam: float, temperature: float) -> None:
    soft = [0.9, 0.2, NAN]
    total = 0.0
    for z, y, p, w in zip(LOGITS.tolist(), LABELS.tolist(), soft, WEIGHT.tolist(), strict=True):
        hard = math.log(sum(math.exp(v) for v in z)) - z[y]
        if math.isnan(p):
            total += w * hard
            continue
        teacher_z = [math.log(1 - p) / temperature, math.log(p) / temperature]
        q = [math.exp(v) / sum(math.exp(u) for u in teacher_z) for v in teacher_z]
        student = [math.exp(v / temperature) for v in z]
        s = [v / sum(student) for v in student]
        kl = sum(a * math.log(a / b) for a, b in zip(q, s, strict=True))
        total += w * (lam * hard + (1 - lam) * temperature**2 * kl)
    loss = distillation_loss(
        LOGITS, LABELS, torch.tensor(soft), WEIGHT, lambda_hard=lam, temperature=temperature
    )
    assert loss.item() == pytest.approx(total, rel=1e-5)


def test_a_certain_teacher_gives_finite_loss_and_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    distillation_loss(logits, LABELS, torch.tensor([1.0, 0.0, NAN]), WEIGHT).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
