"""What a metric is: how its value is computed, in which unit, and which values are better.

`implementation` is one clause that names the recipe and whose code computes it, because values of one name differ
between packages. `higher_is_better` is None for a descriptive metric: its module says which value is ideal, and neither
a higher nor a lower one is better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.imaging.regions import Region

HU = NDArray[np.float64]
"""A slice in Hounsfield units, (h, w)."""
Mask = NDArray[np.bool_]
Spectrum = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Frequencies (k,) and the noise power at them (k,)."""

Unit = Literal["grey", "HU", "%", "1/mm", ""]
"""Of an image metric's value: `grey` (levels of the slice's values; HU where the window is known), `HU` (of a metric in
HU), `%`, `1/mm` (1/pixel where the width of a pixel is unknown), or nothing for a value without unit or, as PSNR, with
one of its own."""


class ImageFunction(Protocol):
    """Compare `image` with `reference` (h, w), both uint8 or uint16, inside bool `mask` (h, w).

    A metric `in_hu` gets both as float64 HU. `data_range` is the width of the protocol's grey window in the images' own
    unit: levels of their values, or HU.

    None where this slice and region hold nothing to measure (no vessel, no nodule, no residual noise). Such a slice is
    left out of the mean, as is one without the region. ScoringError for arguments that no slice has: different sizes,
    an empty mask.
    """

    def __call__(
        self, image: NDArray[Any], reference: NDArray[Any], mask: Mask, *, data_range: float, pixel_mm: float | None
    ) -> float | None: ...


class SpectrumFunction(Protocol):
    """The radial noise power spectrum of `image` - `reference` (h, w) inside bool `mask` (h, w); None if empty.

    Frequencies in 1/mm and power in grey levels^2 mm^2, or per pixel where `pixel_mm` is None.
    """

    def __call__(
        self, image: NDArray[Any], reference: NDArray[Any], mask: Mask, *, pixel_mm: float | None
    ) -> Spectrum | None: ...


class SpectrumSummary(Protocol):
    """The metric's value, from a spectrum."""

    def __call__(self, found: Spectrum) -> float: ...


class DistanceFunction(Protocol):
    """The distance between features (n, d) of the outputs and (m, d) of the references."""

    def __call__(self, x: ArrayLike, y: ArrayLike) -> float: ...


class ExtrapolatedFunction(Protocol):
    """The distance at infinitely many patients (`groups[i]` is that of row i); None where n does not allow it."""

    def __call__(
        self, x: ArrayLike, y: ArrayLike, *, groups: Sequence[str] | None, rng: np.random.Generator
    ) -> float | None: ...


@dataclass(frozen=True, kw_only=True)
class ImageMetric:
    """A metric of one slice, averaged over slices.

    `regions` are the regions in which it means something, None for all of them. `smallest` is the number of pixels that
    an image needs in height and width. A metric `in_hu` is computed from HU, not from the slice's values: only data
    whose window is known have it.
    """

    value: ImageFunction
    unit: Unit
    higher_is_better: bool | None
    implementation: str
    regions: tuple[Region, ...] | None = None
    smallest: int = 1
    in_hu: bool = False


@dataclass(frozen=True, kw_only=True)
class SpectralMetric(ImageMetric):
    """An image metric that summarises a spectrum: records keep the spectrum beside the value."""

    spectrum: SpectrumFunction
    of_spectrum: SpectrumSummary


@dataclass(frozen=True, kw_only=True)
class DistributionMetric:
    """A metric of all slices together: a distance between two sets of features.

    `extrapolated` is given where the distance is biased at few patients and the bias can be removed.
    """

    distance: DistanceFunction
    higher_is_better: bool | None
    implementation: str
    extrapolated: ExtrapolatedFunction | None = None
