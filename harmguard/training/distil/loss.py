"""The distillation loss of HarmAug (arXiv 2410.01524, section 3), per row and weighted."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Of a batch's soft labels: float32 makes 1 of 1 - 1e-9. Apple's GPUs have no float64.
WIDE = torch.float32 if torch.backends.mps.is_available() else torch.float64


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
    soft one; soft [B] in [0, 1], the teacher's P(harmful), NaN where there is none (then CE
    counts whole); weight [B]. Returns a scalar sum in float64 (float32 on Apple's GPUs),
    whatever the inputs' types: the caller divides by the rows of a step, so that accumulation
    and several devices give the same gradient as one large batch.
    """
    wide = torch.float32 if logits.device.type == "mps" else torch.float64
    logits, soft = logits.to(wide), soft.to(wide)
    hard = F.cross_entropy(logits, labels, reduction="none", ignore_index=-100)
    has_soft = ~torch.isnan(soft)
    harmful = torch.where(has_soft, soft, torch.full_like(soft, 0.5))
    # The teacher's distribution at T: its logits are log p up to a constant that cancels.
    logs = torch.stack([torch.log1p(-harmful), harmful.log()], -1) / temperature
    teacher = logs.softmax(-1)
    student = F.log_softmax(logits / temperature, -1)
    # xlogy: a side that the teacher rules out adds 0, not 0 times minus infinity.
    kl = (torch.xlogy(teacher, teacher) - teacher * student).sum(-1) * temperature**2
    mixed = lambda_hard * hard + (1.0 - lambda_hard) * kl
    return (weight.to(wide) * torch.where(has_soft, mixed, hard)).sum()
