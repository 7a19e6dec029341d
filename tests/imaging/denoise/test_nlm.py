"""Non-local means: what it alone promises."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from harness.imaging.denoise.nlm import denoise


@settings(max_examples=20)
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=8, max_side=32)))
def test_output_lies_within_the_input(image: NDArray[np.uint8]) -> None:
    smooth = denoise(image)
    assert image.min() <= smooth.min()
    assert smooth.max() <= image.max()
