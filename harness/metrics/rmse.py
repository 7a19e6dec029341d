"""Root mean square error over a region, in grey levels."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.metrics._images import within

KIND: Literal["image"] = "image"
HIGHER_IS_BETTER = False


def value(
    image: NDArray[np.uint8], reference: NDArray[np.uint8], mask: NDArray[np.bool_], *, data_range: float
) -> float:
    """sqrt(mean((image - reference)^2)) of uint8 (h, w) over bool `mask` (h, w), in grey levels.

    ScoringError for different sizes or an empty mask.
    """
    del data_range  # part of every image metric's signature; an error in grey levels has no use for it
    a, b = within(image, reference, mask)
    return float(np.sqrt(np.mean((a - b) ** 2)))
