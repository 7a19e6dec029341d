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

from harness.imaging.blend import blend, label_ipv1, label_ipv2, label_rb

Image = NDArray[np.uint8]


def test_golden_labels_are_reproduced(golden: Callable[[str], Image]) -> None:
    low, normal = golden("lq"), golden("gt")
    np.testing.assert_array_equal(label_ipv1(low, normal), golden("label_ipv1"))
    np.testing.assert_array_equal(label_rb(low, normal), golden("label_rb"))
    np.testing.assert_array_equal(label_ipv2(low, normal, golden("weak")), golden("label_ipv2"))


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
