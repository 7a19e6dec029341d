"""Labels against the published code's own (tests/golden/README.md) and the laws of a blend."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from harness.imaging.blend import blend, label, training_input

Image = NDArray[np.uint8]


def test_golden_labels_are_reproduced(golden: Callable[[str], Image]) -> None:
    pair = {"low": golden("lq"), "normal": golden("gt")}
    common, lungs = golden("mask_ipv1"), golden("mask_ipv2")
    np.testing.assert_array_equal(label("ipv1", common, **pair), golden("label_ipv1"))
    np.testing.assert_array_equal(label("an", common, **pair), golden("label_ipv1"))  # as ipv1: noise is for training
    np.testing.assert_array_equal(label("rb", lungs, **pair), golden("label_rb"))
    np.testing.assert_array_equal(label("ipv2", lungs, **pair, weak=golden("weak")), golden("label_ipv2"))


def test_golden_training_inputs_are_reproduced(golden: Callable[[str], Image]) -> None:
    pair = {"low": golden("lq"), "normal": golden("gt")}
    lungs = golden("mask_ipv2")
    np.testing.assert_array_equal(training_input("ipv1", golden("mask_ipv1"), **pair), golden("train_ipv1"))
    np.testing.assert_array_equal(training_input("rb", lungs, **pair), golden("train_rb"))
    np.testing.assert_array_equal(training_input("ipv2", lungs, **pair, noisy=golden("noise")), golden("train_ipv2"))


def test_without_purification_the_label_is_the_normal_dose_slice() -> None:
    low, normal = (np.random.default_rng(seed).integers(0, 65536, (9, 9)).astype(np.uint16) for seed in range(2))
    nothing = np.zeros((9, 9), np.uint8)
    np.testing.assert_array_equal(label("none", nothing, low=low, normal=normal), normal)
    np.testing.assert_array_equal(training_input("none", nothing, low=low, normal=normal), low)


@pytest.mark.parametrize("make", [label, training_input])
def test_what_a_strategy_needs_is_asked_for(make: Callable[..., Image]) -> None:
    image = np.zeros((4, 4), np.uint8)
    with pytest.raises(ValueError, match="needs"):
        make("ipv2", image, low=image, normal=image)


@given(st.data(), array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=16))
def test_blend_lies_between_and_takes_the_ends(data: st.DataObject, shape: tuple[int, ...]) -> None:
    mask, inside, outside = (data.draw(arrays(np.uint8, shape)) for _ in range(3))
    mixed = blend(mask, inside, outside)
    assert (np.minimum(inside, outside) <= mixed).all()
    assert (mixed <= np.maximum(inside, outside)).all()
    np.testing.assert_array_equal(blend(np.zeros_like(mask), inside, outside), outside)
    np.testing.assert_array_equal(blend(np.full_like(mask, 255), inside, outside), inside)


@given(st.integers(0, 255), st.integers(0, 255))
def test_weight_254_is_the_exact_mean_rounded(inside: int, outside: int) -> None:
    exact = Fraction(254 * inside + outside, 255)  # never half-way between two grey levels: 255 is odd
    mixed = blend(*(np.full((1, 1), value, np.uint8) for value in (254, inside, outside)))
    assert int(mixed[0, 0]) == round(exact)


def test_blend_refuses_other_shapes() -> None:
    one, other = np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8)
    with pytest.raises(ValueError, match=r"shapes differ.*\(4, 5\)"):
        blend(one, one, other)
