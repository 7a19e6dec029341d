"""Total variation: what it alone promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from harness.imaging.denoise.tv import denoise, denoise_by


def _variation(image: NDArray[np.uint8]) -> float:
    values = image.astype(float)
    return float(np.abs(np.diff(values, axis=0)).sum() + np.abs(np.diff(values, axis=1)).sum())


@settings(max_examples=20)
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=8, max_side=32)))
def test_variation_falls_and_the_mean_stays(image: NDArray[np.uint8]) -> None:
    smooth = denoise(image)
    assert _variation(smooth) <= _variation(image) + 0.5 * image.size  # half a grey level of rounding a pixel
    # the minimiser keeps the mean (Chambolle 2004: the image minus a divergence); rounding moves it by at most half
    assert smooth.mean() == pytest.approx(image.mean(), abs=0.6)


def test_more_strength_leaves_less_variation() -> None:
    image = np.random.default_rng(1).integers(60, 120, (48, 48), dtype=np.uint8)
    variations = [_variation(denoise_by(image, strength=strength)) for strength in (0.1, 0.3, 0.9)]
    assert variations == sorted(variations, reverse=True)
    assert variations[-1] < 0.5 * variations[0]
