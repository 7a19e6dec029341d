"""Both observers at the sites of one condition: outputs of regions, d' with what its intervals need, the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple
from typing import Protocol as Interface

import numpy as np
from numpy.typing import ArrayLike

from harness.base.structs import Strict
from harness.observer import eye, hotelling
from harness.observer.hotelling import Bounds
from harness.observer.rois import Floats
from harness.statistics import Replicates, replicates

Verdict = Literal["loses lesions", "shows lesions better", "no difference seen"]


class Outputs(NamedTuple):
    """All that the observers keep of n regions: (n, channels) of `hotelling.channel_outputs` and (n, 2, channels) of
    `eye.eye_outputs`."""

    hotelling: Floats
    eye: Floats


class Detection(Strict, frozen=True, kw_only=True):
    """How well the lesions of one condition are seen: d' of both observers, as `statistics.interval` and
    `paired_difference` take it, and the exact bounds of the Hotelling observer's."""

    hotelling: Replicates
    exact: Bounds
    eye: Replicates


def observe(rois: Floats, *, diameter_mm: float, pixel_mm: ArrayLike, reading: eye.Reading | None = None) -> Outputs:
    """Outputs of regions of interest (n, side, side) for lesions of this diameter; `pixel_mm` of all or of each one."""
    return Outputs(
        hotelling.channel_outputs(rois, diameter_mm=diameter_mm, pixel_mm=pixel_mm),
        eye.eye_outputs(rois, diameter_mm=diameter_mm, pixel_mm=pixel_mm, reading=reading),
    )


def joined(parts: Sequence[Outputs]) -> Outputs:
    """The outputs of several images, one after the other."""
    return Outputs(np.concatenate([one.hotelling for one in parts]), np.concatenate([one.eye for one in parts]))


def detect(absent: Outputs, present: Outputs, patients: Sequence[str], *, rounding: float = 0.0) -> Detection:
    """d' at the same n sites without and with a lesion; `patients[i]` is the patient of site i.

    `rounding` is the least variance of an output, of images in whole grey levels (`rounding_variance`), without which a
    lesion that is left without any noise is an error. ScoringError as `hotelling.squared_distance` and
    `eye.detectability`.
    """
    names = np.asarray(patients)

    def by_eye(rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> float:
        return eye.detectability(absent.eye[rows], present.eye[rows], names[rows].tolist(), rounding=rounding)

    return Detection(
        hotelling=replicates(
            lambda rows: hotelling.detectability(absent.hotelling[rows], present.hotelling[rows], rounding=rounding),
            patients,
        ),
        exact=hotelling.exact_bounds(absent.hotelling, present.hotelling, rounding=rounding),
        eye=replicates(by_eye, patients),
    )


def rounding_variance(pixel_mm: ArrayLike) -> float:
    """The variance that rounding to whole grey levels gives a channel's output, for pixels of these sizes on average.

    That of one pixel is 1/12, and channels are orthonormal in pixels; their outputs are multiplied by a pixel's size.
    """
    return float(np.mean(np.square(pixel_mm))) / 12


class Bounded(Interface):
    """A number with its interval, None where it has none."""

    @property
    def low(self) -> float | None: ...

    @property
    def high(self) -> float | None: ...


def verdict(difference: Bounded, *, margin: float = 0.0) -> Verdict:
    """In plain words, of an output's d' less that of the noisy input; `margin` of it may be lost."""
    if difference.high is not None and difference.high < -margin:
        return "loses lesions"
    if difference.low is not None and difference.low > 0:
        return "shows lesions better"
    return "no difference seen"
