"""What a DeBERTa-v2 config says about the function, checked: anything else is refused by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from harmguard.errors import UnsupportedModelError

ACTIVATIONS = (
    "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu", "silu", "swish", "tanh",
)  # fmt: skip
_POSITION_TERMS = {"c2p", "p2c"}


@dataclass(frozen=True)
class Conv:
    """The convolution beside the first layer, in DeBERTa-v2 xlarge."""

    kernel: int
    groups: int
    activation: str


@dataclass(frozen=True)
class EncoderShape:
    """What every encoder's config says of the function, under names of our own."""

    layers: int
    heads: int
    width: int
    epsilon: float
    activation: str

    @property
    def head(self) -> int:
        """Width of an attention head."""
        return self.width // self.heads

    @property
    def positive(self) -> bool:
        """The activation is never far below 0."""
        return self.activation.startswith(("gelu", "relu"))


@dataclass(frozen=True)
class DebertaConfig(EncoderShape):
    """The fields that change the function, under names of our own."""

    embedding: int
    """Width of the word embeddings; projected where it is not `width`."""
    pooler_activation: str
    absolute: bool
    """Position embeddings are added to the words'."""
    types: int
    relative: bool
    terms: frozenset[str]
    """Of "c2p" (query with position) and "p2c" (key with position)."""
    shared: bool
    """Positions go through the query's and key's own projections."""
    buckets: int
    """Distances beyond half of it share logarithmic buckets; 0: every distance has its own."""
    most: int
    """max_relative_positions."""
    normed: bool
    """A LayerNorm on the relative embeddings."""
    conv: Conv | None
    longest: int
    """max_position_embeddings: the longest input."""

    @property
    def scale(self) -> float:
        """What every part of an attention score is multiplied by."""
        return float((self.head * (1 + len(self.terms))) ** -0.5)

    @property
    def positions(self) -> frozenset[str]:
        """The terms that are computed."""
        return self.terms if self.relative else frozenset()

    @property
    def span(self) -> int:
        """Half the rows of the table of relative embeddings."""
        return self.buckets or self.most

    def rows(self) -> npt.NDArray[np.int64]:
        """Row of the relative embeddings for the distances -longest to longest, in order.

        The bucket of a distance d beyond mid = buckets / 2 is ceil(log(d / mid) /
        log((most - 1) / mid) * (mid - 1)) + mid (He et al., arXiv:2111.09543, in their code).
        """
        distances = torch.arange(-self.longest, self.longest + 1)
        if self.buckets:
            mid = self.buckets // 2
            size = distances.abs().clamp(min=mid)
            # In torch's float32, because a rounding decides where the logarithm is whole.
            share = torch.log(size / mid) / torch.log(torch.tensor((self.most - 1) / mid))
            log_bucket = (torch.ceil(share * (mid - 1)) + mid) * torch.sign(distances)
            distances = torch.where(distances.abs() <= mid, distances, log_bucket.long())
        rows = (distances + self.span).clamp(0, 2 * self.span - 1)
        return np.asarray(rows.numpy(), np.int64)


def read_config(config: Any) -> DebertaConfig:
    """Check a transformers config; UnsupportedModelError names the field that is at fault."""

    def refuse(field: str, found: object, expected: str) -> UnsupportedModelError:
        return UnsupportedModelError(
            f"config.json: {field} is {found!r}; expected {expected}; likely a variant of "
            "DeBERTa that transformers does not compute either, or an altered config"
        )

    def get(field: str, default: Any) -> Any:
        return getattr(config, field, default)

    width, heads = config.hidden_size, config.num_attention_heads
    if config.num_hidden_layers < 1:
        raise refuse("num_hidden_layers", config.num_hidden_layers, "1 or more")
    if width % heads or get("attention_head_size", width // heads) * heads != width:
        found = get("attention_head_size", width / heads)
        raise refuse("attention_head_size", found, f"{width} / {heads} as a whole number")
    if get("pooler_hidden_size", width) != width:
        raise refuse("pooler_hidden_size", config.pooler_hidden_size, f"hidden_size, {width}")
    for field in ("hidden_act", "pooler_hidden_act"):
        if getattr(config, field) not in ACTIVATIONS:
            raise refuse(field, getattr(config, field), f"one of {', '.join(ACTIVATIONS)}")
    terms = frozenset(config.pos_att_type or ()) - {"none", ""}
    if not terms <= _POSITION_TERMS:
        raise refuse("pos_att_type", config.pos_att_type, "any of c2p and p2c")
    relative = bool(get("relative_attention", False))
    most = get("max_relative_positions", -1)
    most = config.max_position_embeddings if most < 1 else most
    buckets = max(0, get("position_buckets", -1))
    # With fewer the original's logarithm divides by zero.
    if relative and buckets and not 2 <= buckets // 2 * 2 < 2 * (most - 1):
        raise refuse("position_buckets", buckets, f"2 or more, below {2 * (most - 1)}")
    return DebertaConfig(
        layers=config.num_hidden_layers,
        heads=heads,
        width=width,
        embedding=get("embedding_size", width),
        epsilon=config.layer_norm_eps,
        activation=config.hidden_act,
        pooler_activation=config.pooler_hidden_act,
        absolute=get("position_biased_input", True),
        types=config.type_vocab_size,
        relative=relative,
        terms=terms,
        shared=get("share_att_key", False),
        buckets=buckets,
        most=most,
        normed="layer_norm" in map(str.strip, get("norm_rel_ebd", "none").lower().split("|")),
        conv=_conv(config, refuse),
        longest=config.max_position_embeddings,
    )


def _conv(config: Any, refuse: Any) -> Conv | None:
    kernel = getattr(config, "conv_kernel_size", 0)
    if kernel <= 0:
        return None
    if kernel % 2 == 0:
        raise refuse("conv_kernel_size", kernel, "an odd number")
    groups, activation = getattr(config, "conv_groups", 1), getattr(config, "conv_act", "tanh")
    if config.hidden_size % groups:
        raise refuse("conv_groups", groups, f"a divisor of hidden_size, {config.hidden_size}")
    if activation not in ACTIVATIONS:
        raise refuse("conv_act", activation, f"one of {', '.join(ACTIVATIONS)}")
    return Conv(kernel, groups, activation)
