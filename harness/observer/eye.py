"""The non-prewhitening observer with an eye filter: a reader who looks for the lesion's mean appearance.

Burgess, "Statistically defined backgrounds: performance of a modified nonprewhitening observer model", J. Opt. Soc. Am.
A 11 (1994) 1237: image and template both pass the eye's contrast sensitivity E, so the template is E^2 times the
lesion's spectrum. The lesion is what these very images show of it, the mean of present less absent. Taken as it comes,
the noise in that mean would be correlated with the images it is applied to and larger than a faint lesion. So it is
fitted by the round, smooth channels of the Hotelling observer, and for each patient to the other patients alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from harness.base.errors import ScoringError
from harness.base.structs import Strict
from harness.observer.hotelling import CHANNELS, channel_width, laguerre_gauss
from harness.observer.rois import Floats, both_classes, by_pixel

PEAK = 4.0
"""Spatial frequency to which the eye is most sensitive, in cycles per degree."""
INTERNAL_NOISE = 0.75
"""A reader's own noise, in standard deviations of the decision variable: proportional, as it fitted readers of CT best
(Eck et al., Proc. SPIE 9037 (2014) 90370P), and as large as readers of white noise have shown it to be (Burgess &
Colborne, J. Opt. Soc. Am. A 5 (1988) 617). A factor of 0.8 on every d': it changes no order."""


class Reading(Strict, frozen=True, kw_only=True):
    """How images are looked at: width of an image's pixel on the screen (three of the screen's own of 0.2 mm), and the
    eye's distance, in mm. It is the same for all patients, whatever their field of view."""

    pixel_mm: float = 0.6
    distance_mm: float = 500.0

    @property
    def pixels_per_degree(self) -> float:
        return math.tan(math.radians(1)) * self.distance_mm / self.pixel_mm


def eye_filter(side: int, reading: Reading) -> Floats:
    """The eye's sensitivity f^1.3 exp(-c f^2) (Burgess 1994), 1 at its PEAK: float64 (side, side), in fft2's order.

    f in cycles per degree; the peak lies where f^2 = 1.3 / 2c.
    """
    frequencies = np.fft.fftfreq(side) * reading.pixels_per_degree
    square = (frequencies[:, None] ** 2 + frequencies**2) / PEAK**2
    sensitivity: Floats = (square * np.exp(1 - square)) ** 0.65
    return sensitivity


def eye_outputs(
    rois: Floats, *, diameter_mm: float, pixel_mm: ArrayLike, reading: Reading | None = None, channels: int = CHANNELS
) -> Floats:
    """All that this observer needs of regions of interest (n, side, side), float64 (n, 2, channels).

    First the weights with which the channels u_j for a lesion of this diameter fit a region best, by least squares;
    then what the region holds of each one behind the eye, its product with E^2 u_j. `pixel_mm` as in
    `hotelling.channel_outputs`: both are given for channels that are orthonormal in mm.
    """
    side = rois.shape[1]
    gain = eye_filter(side, reading or Reading()) ** 2
    outputs = np.zeros((len(rois), 2, channels))
    for size, rows in by_pixel(pixel_mm, len(rois)):
        round_ones = laguerre_gauss(side, width=channel_width(diameter_mm, size), channels=channels)
        round_ones -= round_ones.mean(axis=0)
        spectra = np.fft.fft2(round_ones.T.reshape(channels, side, side))
        filtered = np.fft.ifft2(gain * spectra).real.reshape(channels, -1)
        flat = rois[rows].reshape(-1, side * side)
        outputs[rows, 0] = size * (flat @ np.linalg.pinv(round_ones).T)
        outputs[rows, 1] = size * (flat @ filtered.T)
    return outputs


def detectability(
    absent: Floats,
    present: Floats,
    patients: Sequence[str],
    *,
    internal_noise: float = INTERNAL_NOISE,
    rounding: float = 0.0,
) -> float:
    """d' of the observer from its `eye_outputs` without and with a lesion, (n, 2, channels) of the same sites.

    `patients[i]` is the patient of site i. d' is the mean of present less absent decisions, over the root of
    s^2 (1 + internal_noise^2), s^2 the mean of their two variances. It is below 0 where the template finds the opposite
    of a lesion, and 0 where nothing of it is left. `rounding` as in `hotelling.squared_distance`: s^2 is at least that
    times the template's square, the most that the eye lets pass of it. ScoringError for fewer than two patients, and,
    without `rounding`, for a difference without any noise.
    """
    both_classes(absent, present)
    people, owner, counts = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    if len(people) < 2:
        raise ScoringError(f"a template needs the sites of other patients, found {len(people)} patient")
    shown = present[:, 0] - absent[:, 0]
    sums = np.stack([shown[owner == person].sum(axis=0) for person in range(len(people))])
    templates = (sums.sum(axis=0) - sums) / (len(shown) - counts)[:, None]
    decisions = [(templates[owner] * seen[:, 1]).sum(axis=1) for seen in (absent, present)]
    difference = float((decisions[1] - decisions[0]).mean())
    if difference == 0:
        return 0.0
    least = rounding * float((templates[owner] ** 2).sum(axis=1).mean())
    spread = math.sqrt(max(sum(float(decision.var(ddof=1)) for decision in decisions) / 2, least))
    if spread == 0:
        raise ScoringError("the decisions do not vary: no noise is left to measure a difference by")
    return difference / (spread * math.sqrt(1 + internal_noise**2))
