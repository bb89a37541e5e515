from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

pytest.importorskip("coremltools")

from harmguard_export.coreml.compress import WEIGHT_FORMATS, Packed, divisor, pack

# RMS of what rounding changes, as a share of the RMS of the values that have a scale of their own.
SHARE = {"fp16": 0.001, "int8": 0.015, "int4": 0.15, "palette4": 0.15}
# Rows that share a table of 16 values and differ in size: up to 0.163 in 500 draws.
SHARE_SPREAD = SHARE | {"palette4": 0.2}
# Half of a step that has the smallest normal fp16 number for a scale.
STEP = 3.1e-5


@given(
    st.sampled_from(WEIGHT_FORMATS),
    st.integers(0, 2**32 - 1),
    st.integers(-17, 4),
    st.booleans(),
    st.booleans(),
)
@example("palette4", 7275144, 0, True, False)
def test_weights_of_any_size_keep_their_values(
    kind: str, seed: int, power: int, spread: bool, whole: bool
) -> None:
    random = np.random.default_rng(seed)
    weight = random.normal(0, 2.0**power, (32, 64)).astype(np.float32)
    if spread:  # rows of very different sizes
        weight *= np.logspace(-4, 0, 32, dtype=np.float32)[:, None]
    error = pack(weight, kind, whole=whole).dense() - weight
    axis = None if kind == "palette4" else 1
    size, wrong = (np.sqrt((x.astype(np.float64) ** 2).mean(axis)) for x in (weight, error))
    share = (SHARE_SPREAD if spread else SHARE)[kind]
    assert (wrong <= np.maximum(share * size, STEP)).all()


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_a_scale_that_fp16_holds_badly_does_not_empty_the_row(kind: str) -> None:
    # 1/127 of the largest is below fp16's smallest normal number.
    weight = np.linspace(-0.007, 0.007, 64, dtype=np.float32)[None]
    dense = pack(weight, kind).dense()
    assert np.corrcoef(dense[0], weight[0])[0, 1] > 0.99


@pytest.mark.parametrize("kind", WEIGHT_FORMATS)
def test_nothing_but_zeros_stays_zeros(kind: str) -> None:
    assert not pack(np.zeros((4, 32), np.float32), kind).dense().any()


def test_divisor_and_shapes() -> None:
    assert divisor(1025, 32) == 25
    packed: Packed = pack(np.ones((24, 48), np.float32), "palette4")
    assert packed.table.shape == (2, 16)
    assert pack(np.ones((24, 48), np.float32), "int4").table.shape == (24, 2)
