"""The distillation loss of HarmAug (arXiv 2410.01524, section 3), per row and weighted."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def distillation_loss(
    logits: Tensor,
    labels: Tensor,
    soft: Tensor,
    weight: Tensor,
    *,
    lambda_hard: float = 0.5,
    temperature: float = 1.0,
) -> Tensor:
    """Sum over rows of weight * (lambda CE(hard) + (1 - lambda) T^2 KL(teacher || student)).

    logits [B, 2]; labels [B] int64, -100 where a row has no hard label of its own or by its
    soft one; soft [B], the teacher's P(harmful), NaN where there is none (then CE counts
    whole); weight [B]. Returns a scalar sum: the caller divides by the rows of a step, so
    that accumulation and several devices give the same gradient as one large batch.
    """
    logits = logits.float()
    hard = F.cross_entropy(logits, labels, reduction="none", ignore_index=-100)
    has_soft = ~torch.isnan(soft)
    teacher_1 = torch.where(has_soft, soft, torch.full_like(soft, 0.5)).float()
    # The teacher's distribution at T: its logits are log p up to a constant that cancels.
    teacher = torch.stack([1.0 - teacher_1, teacher_1], -1).clamp_min(1e-7).log() / temperature
    teacher = F.log_softmax(teacher, -1)
    student = F.log_softmax(logits / temperature, -1)
    kl = (teacher.exp() * (teacher - student)).sum(-1) * temperature**2
    mixed = lambda_hard * hard + (1.0 - lambda_hard) * kl
    return (weight.float() * torch.where(has_soft, mixed, hard)).sum()
