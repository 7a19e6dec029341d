"""Masks against the published code's own (tests/golden/README.md) and their laws."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from harness.imaging.masks import common_mask, dark_mask, remove_background

Image = NDArray[np.uint8]

slices = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))
commons = arrays(
    np.uint8,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24),
    elements=st.sampled_from([0, 254, 255]),
)


def test_golden_masks_are_reproduced(golden: Callable[[str], Image]) -> None:
    common = common_mask(golden("lq"), golden("gt"))
    np.testing.assert_array_equal(common, golden("mask_ipv1"))
    np.testing.assert_array_equal(remove_background(common), golden("mask_ipv2"))


@given(slices)
def test_mask_of_a_slice_with_itself_weighs_254(image: Image) -> None:
    common = common_mask(image, image)
    assert set(np.unique(common)) <= {0, 254}
    np.testing.assert_array_equal(common == 254, dark_mask(image) == 255)


@given(st.data(), array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))
def test_common_mask_is_symmetric_with_three_values(data: st.DataObject, shape: tuple[int, ...]) -> None:
    low, normal = data.draw(arrays(np.uint8, shape)), data.draw(arrays(np.uint8, shape))
    common = common_mask(low, normal)
    assert common.dtype == np.uint8
    assert set(np.unique(common)) <= {0, 254, 255}
    np.testing.assert_array_equal(common, common_mask(normal, low))


@given(commons)
def test_removal_only_clears_and_is_final_for_the_corner(common: Image) -> None:
    removed = remove_background(common)
    assert ((removed == common) | (removed == 0)).all()
    assert removed[0, 0] == 0
    np.testing.assert_array_equal(remove_background(removed), removed)


def test_removal_follows_sides_not_diagonals() -> None:
    common = np.zeros((4, 4), np.uint8)
    common[0, 0] = common[1, 1] = 255
    assert remove_background(common)[1, 1] == 255


def test_dark_mask_drops_specks_and_keeps_what_the_border_cuts() -> None:
    image = np.full((9, 9), 200, np.uint8)
    image[4, 4] = 0  # a single dark pixel: the opening removes it
    image[0:2, 0:3] = 0  # no cross fits unless pixels outside the image count as dark
    mask = dark_mask(image)
    assert mask[4, 4] == 0
    assert mask[0, 1] == 255
