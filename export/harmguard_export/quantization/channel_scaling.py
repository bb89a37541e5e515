"""What an input's channels are divided by before it is quantised, and which stay in float32.

An encoder's layers read a few channels at many times what all others reach, and DeBERTa's a few
such tokens too. Channels are divided by powers of their largest values, and the weights
multiplied (Xiao et al., arXiv:2211.10438); what even that leaves as outliers goes through a small
product in float32. The range that 8 bits then divide is fixed at export, which takes the fewest
operators, or each token's own, found while the graph runs. Neither depends on other texts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from harmguard_export.quantization.activation_ranges import Activations
from harmguard_export.quantization.quantize import (
    BLOCK,
    GELU_LOWEST,
    LEAST,
    SIGNED_ZERO,
    Floats,
    block_scale,
    column_scales,
    round_inputs,
    steps_above,
    token_sizes,
)

# Channels in float32, where they take at least this share of the error away: less is not worth
# three operators. Of these the fewest that leave the error within a tenth of the most's.
OUTLIERS = 16
_FEWER = (2, 4, 6, 8, 12)
_WORTH, _AS_GOOD = 0.3, 1.1
_POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)
# The steps below 0 of an input that is never far below it, where tokens have their own ranges: with
# channels as they are, and divided, by which small ones grow.
_ZERO, _DIVIDED_ZERO = 20, 40
# Enough to choose by; the rounding of the weights sees the whole sample.
_TOKENS = 256
# A fixed range is taken where its error is at most so many times that of tokens' own ranges, and
# dividing channels by one number, which needs no operator, where that is as good.
_FIXED_WORTH = 1.5


@dataclass(frozen=True)
class ChannelScaling:
    """How one input is quantised."""

    spread: Floats
    """[channels] what each is divided by; any number for those in float32."""
    outliers: npt.NDArray[np.intp]
    """The channels in float32, in order; their weights in the quantised layer are 0."""
    precision: str
    """int8 or int4."""
    zero: int
    """int8: what stands for 0; SIGNED_ZERO, or less for an input that is never far below 0."""
    error: float
    """Mean square error of the outputs, relative to each token's mean square."""
    fixed: bool = False
    """int8: the range is `spread` itself, not each token's own."""
    least: float = LEAST
    """A token's own range is at least this, so that no value lies below the steps under `zero`."""

    @property
    def uniform(self) -> bool:
        """All channels are divided by one number."""
        return bool((self.spread == self.spread[0]).all())

    @property
    def folds(self) -> bool:
        """Whether an operator before may do the scaling, by `folded`."""
        return self.fixed or not len(self.outliers)

    @property
    def folded(self) -> Floats:
        """[channels] what another operator multiplies the input by; outliers by 1."""
        folded = np.asarray(1 / self.spread, np.float32)
        folded[self.outliers] = 1
        return folded

    @property
    def factors(self) -> Floats:
        """[channels] what to multiply the input by: 0 for outliers, else 1 / spread."""
        factors = np.asarray(1 / self.spread, np.float32)
        factors[self.outliers] = 0
        return factors

    def weight(self, weight: Floats) -> Floats:
        """A weight [in, out] as it is before its rounding."""
        weight = weight * self.spread[:, None]
        weight[self.outliers] = 0
        return weight

    def inputs(self, sample: Floats) -> Floats:
        """A sample [tokens, channels] of the input as the quantised layer sees it."""
        divided = sample * self.factors
        if self.precision == "int4":
            return _rounded_blocks(divided)
        if self.fixed:
            return round_inputs(divided, self.zero)
        size = divided if self.zero != SIGNED_ZERO else np.abs(divided)
        size = np.maximum(size.max(1, keepdims=True), self.least)
        return np.asarray(round_inputs(divided / size, self.zero) * size, np.float32)


def choose_scaling(
    found: Activations, weight: Floats, precision: str, positive: bool, *, fixed: bool = False
) -> ChannelScaling:
    """The scaling of least error for an input and all weights [in, out] that read it.

    `positive`: the input is never below GELU_LOWEST. `fixed`: a range fixed at export may be
    chosen.
    """
    search = _Search(found, weight, precision, positive)
    best = search.best(False)
    if fixed and precision == "int8":
        plain = search.best(True)
        if plain.error <= best.error * _FIXED_WORTH:
            return plain
    return best


class _Search:
    """Tries divisions of one input on a sample of it."""

    def __init__(self, found: Activations, weight: Floats, precision: str, positive: bool) -> None:
        self.found, self.weight = found, weight
        self.precision, self.positive = precision, positive
        self.sample = found.sample[:: max(1, len(found.sample) // _TOKENS)]
        self.exact = self.sample @ weight
        self.size = token_sizes(self.exact)
        self.order = np.argsort(-found.largest, kind="stable")
        # Blocks have scales of their own.
        self.powers = _POWERS if precision == "int8" else (0.0,)

    def best(self, fixed: bool) -> ChannelScaling:
        """The scaling of least error, with as few outliers as that takes."""
        _, best = self._least(0, fixed)
        if len(self.order) > 4 * OUTLIERS:
            power, kept = self._least(OUTLIERS, fixed)
            if kept.error < best.error * (1 - _WORTH):
                fewer = [self._tried(count, power, fixed) for count in _FEWER] + [kept]
                best = next(one for one in fewer if one.error <= kept.error * _AS_GOOD)
        return best

    def _least(self, count: int, fixed: bool) -> tuple[float, ChannelScaling]:
        """The lowest power, 0 first, that is as good as any: it may need no operator."""
        tried = [(power, self._tried(count, power, fixed)) for power in self.powers]
        limit = min(one.error for _, one in tried) * (_AS_GOOD if fixed else 1)
        return next(one for one in tried if one[1].error <= limit)

    def _tried(self, count: int, power: float, fixed: bool) -> ChannelScaling:
        """The scaling with the `count` largest channels in float32, and its error."""
        outliers, kept = np.sort(self.order[:count]), self.order[count:]
        largest, weight = self.found.largest, self.weight
        spread = _spread(largest, kept, power)
        if fixed:
            reach = float((largest / spread)[kept].max())
            spread = spread * np.float32(max(reach, LEAST))
        zero, least = self._zero(float(spread[kept].min()), power, fixed)
        made = ChannelScaling(spread, outliers, self.precision, zero, np.inf, fixed, least)
        output = made.inputs(self.sample) @ rounded_weight(made.weight(weight), self.precision)
        output += self.sample[:, outliers] @ weight[outliers]
        error = float((((output - self.exact) / self.size) ** 2).mean())
        return replace(made, error=error)

    def _zero(self, smallest: float, power: float, fixed: bool) -> tuple[int, float]:
        """`ChannelScaling.zero` and `least`; the channels are divided by `smallest` at least."""
        if not self.positive:
            return SIGNED_ZERO, LEAST
        below = -GELU_LOWEST / smallest
        zero = _DIVIDED_ZERO if power else _ZERO
        if fixed:
            # As many steps below 0 as its share of the range needs.
            zero = min(int(np.ceil(255 * below / (1 + below))), SIGNED_ZERO - 1)
        return zero, below * steps_above(zero) / zero


def _rounded_blocks(x: Floats) -> Floats:
    """What MatMulNBits makes of its input [tokens, channels]: 8 bits, a range per block."""
    padded = np.pad(x, ((0, 0), (0, -x.shape[1] % BLOCK))).reshape(len(x), -1, BLOCK)
    size = np.maximum(np.abs(padded).max(2, keepdims=True), LEAST)
    steps = np.rint(padded / size * 127) * size / 127
    return np.asarray(steps.reshape(len(x), -1)[:, : x.shape[1]], np.float32)


def _spread(largest: Floats, rest: npt.NDArray[np.intp], power: float) -> Floats:
    """`largest` ** power, of mean 1 over the channels `rest`."""
    # A channel that hardly moves must not take the weights' resolution.
    floor = max(float(np.median(largest[rest])) / 4, 1e-6)
    spread = np.maximum(largest, floor).astype(np.float64) ** power
    return np.asarray(spread / spread[rest].mean(), np.float32)


def rounded_weight(weight: Floats, precision: str) -> Floats:
    """A weight [in, out] rounded row by row, without making up for errors: to compare by."""
    if precision == "int8":
        scale = column_scales(weight)
        return np.asarray(np.clip(np.rint(weight / scale), -127, 127) * scale, np.float32)
    rounded = np.empty_like(weight)
    for start in range(0, len(weight), BLOCK):
        block = weight[start : start + BLOCK]
        scale = block_scale(block)
        rounded[start : start + BLOCK] = np.clip(np.rint(block / scale), -8, 7) * scale
    return rounded
