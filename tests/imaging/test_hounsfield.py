from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from harness.imaging.hounsfield import HU16, OFFSET_HU, data_range, grey, hounsfield, levels, own_window, remap

WINDOW = (-1024.0, 1200.0)
SLICES = arrays.arrays(np.uint16, (4, 5), elements=st.integers(0, 65535))
WINDOWS = st.tuples(st.floats(-3000, 0), st.floats(1, 5000))


@given(SLICES)
def test_at_16_bits_a_value_is_hu_and_8192(image: NDArray[np.uint16]) -> None:
    np.testing.assert_array_equal(hounsfield(image, HU16), image.astype(float) - OFFSET_HU)
    np.testing.assert_array_equal(levels(hounsfield(image, HU16), HU16, np.uint16), image)


@given(arrays.arrays(np.uint8, (4, 5)), WINDOWS)
def test_grey_levels_come_back_from_hu_where_a_level_is_a_hu_or_more(
    image: NDArray[np.unsignedinteger[Any]],
    window: tuple[float, float],
) -> None:
    if (window[1] - window[0]) / 255 > 1.01:
        there = remap(image, window, HU16, np.uint16)
        np.testing.assert_array_equal(remap(there, HU16, window, np.uint8), image)


@given(SLICES, WINDOWS)
def test_hu_come_back_from_grey_levels_within_half_a_level(
    image: NDArray[np.unsignedinteger[Any]],
    window: tuple[float, float],
) -> None:
    back = remap(grey(image, window), window, HU16, np.uint16)
    inside = np.clip(hounsfield(image, HU16), *window)
    step = (window[1] - window[0]) / 255
    assert np.abs(hounsfield(back, HU16) - inside).max() <= step / 2 + 0.5 + 1e-9


def test_a_slice_of_8_bits_is_its_own_grey_levels() -> None:
    image = np.arange(256, dtype=np.uint8)[None]
    assert grey(image, None) is image
    assert remap(image, WINDOW, WINDOW, np.uint8) is image
    assert own_window(image, WINDOW) == WINDOW
    assert data_range(image, None) == 255


def test_a_slice_of_16_bits_needs_a_window_to_be_shown_and_compared() -> None:
    image = np.array([[0, 7168, 8192, 9392, 65535]], np.uint16)
    np.testing.assert_array_equal(grey(image, WINDOW), [[0, 0, round(1024 / 2224 * 255), 255, 255]])
    assert own_window(image, WINDOW) == HU16
    assert data_range(image, WINDOW) == 2224
    with pytest.raises(ValueError, match="state window_hu"):
        grey(image, None)
    with pytest.raises(ValueError, match="state window_hu"):
        data_range(image, None)
