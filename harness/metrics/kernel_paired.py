"""Kernel distance for paired sets: KID without the terms between an output and the label of the same slice.

`kernel` is the number that clean-fid calls KID. This one complements it where outputs and labels show the same slices,
as in every protocol here: it is 0 for outputs equal to their labels, where the other is negative.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from harness.metrics import kernel
from harness.metrics._metric import DistributionMetric


def distance(x: ArrayLike, y: ArrayLike) -> float:
    """Squared MMD of features (n, d) and (n, d) whose rows i show the same slice, as `kernel.paired`.

    ScoringError for different n or d, fewer than two images, or values that are not finite.
    """
    return kernel.paired(x, y)


METRIC = DistributionMetric(
    distance=distance,
    higher_is_better=False,
    implementation="unbiased squared MMD without the terms within pairs, cubic polynomial kernel, in float64, own code",
)
