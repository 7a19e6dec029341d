"""The channelized Hotelling observer: a few smooth channels, and the best linear decision from their outputs.

Channels: Laguerre-Gauss functions (Gallas & Barrett, J. Opt. Soc. Am. A 20 (2003) 1725). Estimate and interval:
Wunderlich, Noo, Gallas & Heilbrun, "Exact confidence intervals for channelized Hotelling observer performance in image
quality studies", IEEE Trans. Med. Imag. 34 (2015) 453.

They take all sites for independent. Two things differ here: absent and present scans of one plane share its anatomy,
which the difference of their means does not see (the interval is too wide, and the estimate of d'^2 too low by at most
p (m + n) / (m n)); and the sites of a patient share its noise and its lungs (too narrow). What holds for other patients
is the jackknife over them, `harness.statistics.replicates`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import eval_laguerre, ncfdtr, ndtr

from harness.base.errors import ScoringError
from harness.observer.rois import Floats, both_classes, by_pixel
from harness.statistics import LEVEL

CHANNELS = 5
WIDTH_PER_RADIUS = 4.0
"""Width of the channels' Gaussian in radii of the lesion."""


class Bounds(NamedTuple):
    """Both ends of an interval."""

    low: float
    high: float


def laguerre_gauss(side: int, *, width: float, channels: int = CHANNELS) -> Floats:
    """Channels centred in a square of `side` pixels, float64 (side x side, channels).

    u_j(r) = sqrt(2) / width * exp(-pi r^2 / width^2) * L_j(2 pi r^2 / width^2), r and `width` in pixels, L_j Laguerre's
    polynomials: orthonormal over the plane.
    """
    offsets = np.arange(side) - (side - 1) / 2
    square = math.pi * (offsets[:, None] ** 2 + offsets**2).ravel() / width**2
    orders = np.arange(channels)
    values: Floats = math.sqrt(2) / width * np.exp(-square)[:, None] * eval_laguerre(orders, 2 * square[:, None])
    return values


def channel_outputs(rois: Floats, *, diameter_mm: float, pixel_mm: ArrayLike, channels: int = CHANNELS) -> Floats:
    """What the channels for a lesion of this diameter make of regions of interest: (n, side, side) -> (n, channels).

    `pixel_mm`, of all or of each one (n,), sets their width: patients with other fields of view are seen by the same
    channels. Outputs are integrals over the plane, in grey levels x mm.
    """
    outputs = np.zeros((len(rois), channels))
    for size, rows in by_pixel(pixel_mm, len(rois)):
        wide = laguerre_gauss(rois.shape[1], width=channel_width(diameter_mm, size), channels=channels)
        outputs[rows] = size * (rois[rows].reshape(-1, len(wide)) @ wide)
    return outputs


def channel_width(diameter_mm: float, pixel_mm: float) -> float:
    """Width of the channels for a lesion, in pixels."""
    return WIDTH_PER_RADIUS * diameter_mm / 2 / pixel_mm


def squared_distance(absent: Floats, present: Floats, *, rounding: float = 0.0) -> float:
    """Squared Mahalanobis distance of the mean outputs, D^2 = dv' S^-1 dv, with the pooled covariance S.

    Outputs are (m, channels) and (n, channels). 0 where the means are equal, even if nothing varies (a denoiser that
    erases everything). `rounding` is the variance that rounding to whole grey levels alone gives an output: along no
    direction is less taken for the noise. ScoringError for too few sites (m + n must be at least channels + 4), and,
    without `rounding`, where a difference comes without any noise, which would be infinite.
    """
    both_classes(absent, present)
    count, channels = len(absent) + len(present), absent.shape[1]
    if count < channels + 4:
        raise ScoringError(f"{channels} channels need {channels + 4} regions of interest or more, found {count}")
    difference = present.mean(axis=0) - absent.mean(axis=0)
    if not difference.any():
        return 0.0
    spread = np.concatenate([absent - absent.mean(axis=0), present - present.mean(axis=0)])
    if rounding > 0:
        variances, directions = np.linalg.eigh(spread.T @ spread / (count - 2))
        return float(((difference @ directions) ** 2 / np.maximum(variances, rounding)).sum())
    scale = np.sqrt((spread**2).mean(axis=0))
    if not scale.all() or np.linalg.matrix_rank(spread / scale) < channels:
        raise ScoringError("the channels' outputs do not vary enough to measure a difference by: no noise is left")
    spread, difference = spread / scale, difference / scale  # the distance is the same, and better conditioned
    covariance = spread.T @ spread / (count - 2)
    return float(difference @ np.linalg.solve(covariance, difference))


def squared_index(absent: Floats, present: Floats, *, rounding: float = 0.0) -> float:
    """d'^2, unbiased for normal outputs (Wunderlich 2015): negative where chance would give more.

    d'^2 = (m + n - p - 3) / (m + n - 2) * D^2 - p (m + n) / (m n), of p channels. Arguments and errors as
    `squared_distance`.
    """
    m, n, p = len(absent), len(present), absent.shape[1]
    distance = squared_distance(absent, present, rounding=rounding)
    return float((m + n - p - 3) / (m + n - 2) * distance - p * (m + n) / (m * n))


def detectability(absent: Floats, present: Floats, *, rounding: float = 0.0) -> float:
    """d' of the observer, the root of `squared_index`; 0 where that is negative. Arguments and errors as there."""
    return math.sqrt(max(squared_index(absent, present, rounding=rounding), 0.0))


def exact_bounds(absent: Floats, present: Floats, *, rounding: float = 0.0, level: float = LEVEL) -> Bounds:
    """Exact confidence interval of d', for normal outputs of one covariance. Arguments and errors as before.

    x = D^2 m n (m + n - p - 1) / (p (m + n - 2) (m + n)) has a noncentral F distribution with p and m + n - p - 1
    degrees of freedom and the noncentrality d'^2 m n / (m + n): the bounds are those at which x lies at its 97.5 % and
    2.5 % quantile (Wunderlich 2015).
    """
    m, n, p = len(absent), len(present), absent.shape[1]
    freedom = m + n - p - 1
    x = squared_distance(absent, present, rounding=rounding) * m * n * freedom / (p * (m + n - 2) * (m + n))

    def bound(share: float) -> float:
        def excess(noncentrality: float) -> float:
            return float(ncfdtr(p, freedom, noncentrality, x)) - share

        if excess(0.0) <= 0:
            return 0.0
        from scipy.optimize import brentq  # a third of what a board takes to load, which needs none of it

        beyond = 1.0 + 2 * p * x
        while excess(beyond) > 0:  # step by step: far beyond its mean the distribution function ends in nan
            beyond *= 1.5
        return math.sqrt(float(brentq(excess, 0.0, beyond)) * (m + n) / (m * n))

    return Bounds(bound((1 + level) / 2), bound((1 - level) / 2))


def auc(index: float) -> float:
    """Area under the ROC curve of normal decisions with this d': Phi(d' / sqrt 2)."""
    return float(ndtr(index / math.sqrt(2)))
