from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.phantom.shapes import Array, Texture, coverage, ellipse, join, ramp, turned


def grid(size: int = 200, pixel_mm: float = 0.5) -> tuple[Array, Array]:
    axis = ((np.arange(size) - (size - 1) / 2) * pixel_mm).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    return np.ascontiguousarray(x), np.ascontiguousarray(y)


@given(a=st.floats(8, 35), b=st.floats(8, 35), turn=st.floats(-3, 3), square=st.floats(0, 0.95))
@settings(max_examples=25)
def test_an_ellipse_covers_its_area(a: float, b: float, turn: float, square: float) -> None:
    x, y = grid()
    area = float(coverage(ellipse(x, y, (1, -2), (a, b), turn=turn, square=square), 0.5).sum()) * 0.25
    # Between the ellipse and its bounding rectangle; the ellipse itself where nothing is squared.
    assert math.pi * a * b * 0.98 < area < 4 * a * b * 1.02
    if square < 0.05:
        assert area == pytest.approx(math.pi * a * b, rel=0.02)


def test_the_distance_of_a_circle_is_exact() -> None:
    x, y = grid()
    np.testing.assert_allclose(ellipse(x, y, (3, 4), (20, 20)), np.hypot(x - 3, y - 4) - 20, atol=2e-3)


def test_joining_keeps_both_and_fills_the_crease() -> None:
    x, y = grid()
    left, right = ellipse(x, y, (-15, 0), (16, 16)), ellipse(x, y, (15, 0), (16, 16))
    joined = join(left, right, 8)
    assert (joined <= np.minimum(left, right) + 1e-5).all()
    far = np.abs(left - right) > 8
    np.testing.assert_allclose(joined[far], np.minimum(left, right)[far], atol=1e-5)
    assert (joined < 0).sum() > (np.minimum(left, right) < 0).sum()


def test_turning_there_and_back_changes_nothing() -> None:
    x, y = grid(20)
    back_x, back_y = turned(*turned(x, y, 0.3), -0.3)
    np.testing.assert_allclose(back_x, x, atol=1e-5)
    np.testing.assert_allclose(back_y, y, atol=1e-5)


def test_a_ramp_runs_up_or_down() -> None:
    assert [ramp(0, 1, v) for v in (-1, 0, 0.5, 1, 2)] == [0, 0, 0.5, 1, 1]
    assert [ramp(1, 0, v) for v in (-1, 0.5, 2)] == [1, 0.5, 0]


def test_texture_is_standardised_periodic_and_continuous_in_height() -> None:
    texture = Texture(np.random.default_rng(3), side=16, smooth=1)
    assert texture.block.mean() == pytest.approx(0, abs=1e-5)
    assert texture.block.std() == pytest.approx(1, abs=1e-5)
    x, y = grid(40, 1.0)
    here = texture(x, y, 5.0, 1.5)
    np.testing.assert_allclose(texture(x + np.float32(24), y, 5.0, 1.5), here, atol=5e-3)  # 16 voxels of 1.5 mm
    np.testing.assert_allclose(texture(x, y, 29.0, 1.5), here, atol=1e-5)
    assert np.abs(texture(x, y, 5.01, 1.5) - here).max() < 0.05
