"""One image against its references, by every image metric in every region: the loop that all scoring shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ScoringError
from harness.imaging.hounsfield import Image, Window, hounsfield, hu_per_level
from harness.metrics._images import IMAGES, once_per_slice
from harness.metrics._metric import ImageMetric, Mask, SpectralMetric, Spectrum

WINDOW_FIX = "state data.window_hu, the HU of grey 0 and of grey 255, or leave the metric out of the protocol"


class Measured(NamedTuple):
    """A metric's value in a region, None where there is nothing to measure, and the spectrum behind it, if any."""

    value: float | None
    spectrum: Spectrum | None = None


class Comparison(NamedTuple):
    """One reference image, metric and region, by name and by content: uint8 or uint16 (h, w), bool (h, w)."""

    reference: str
    target: Image
    name: str
    metric: ImageMetric
    region: str
    mask: Mask

    def measure(self, image: Image, *, data_range: float, pixel_mm: float | None, window_hu: Window | None) -> Measured:
        """The metric's value for `image` (h, w), of the reference's type, and its spectrum where it has one.

        `data_range` is in levels of the images, whose window is `window_hu`. No value where the slice does not show the
        region. ScoringError as the metric, and of a metric in HU where the window is unknown.
        """
        if not self.mask.any():
            return Measured(None)
        own: NDArray[Any] = image
        target: NDArray[Any] = self.target
        if self.metric.in_hu:
            if window_hu is None:
                raise ScoringError(f"{self.name} is computed in HU, but the slices' window is unknown", fix=WINDOW_FIX)
            own, target = (_in_hu(one, window_hu) for one in (image, self.target))
            data_range *= hu_per_level(window_hu, image.dtype)
        if isinstance(self.metric, SpectralMetric):
            found = self.metric.spectrum(own, target, self.mask, pixel_mm=pixel_mm)
            return Measured(None if found is None else self.metric.of_spectrum(found), found)
        return Measured(self.metric.value(own, target, self.mask, data_range=data_range, pixel_mm=pixel_mm))


@once_per_slice(IMAGES)
def _in_hu(image: Image, window_hu: Window) -> NDArray[np.float64]:
    hu = hounsfield(image, window_hu)
    hu.flags.writeable = False
    return hu


def comparisons(
    references: Mapping[str, Image], metrics: Mapping[str, ImageMetric], masks: Mapping[str, Mask]
) -> Iterator[Comparison]:
    """Every reference, metric and region of a slice, in this order, without the regions a metric does not apply to.

    References are uint8 or uint16 (h, w) and masks bool (h, w), by name. Empty masks are yielded too: the slice lacks
    the region.
    """
    for reference, target in references.items():
        for name, metric in metrics.items():
            for region, mask in masks.items():
                if metric.regions is None or region in metric.regions:
                    yield Comparison(reference, target, name, metric, region, mask)
