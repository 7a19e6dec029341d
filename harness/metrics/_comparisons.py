"""One image against its references, by every image metric in every region: the loop that all scoring shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from harness.metrics._metric import Image, ImageMetric, Mask, SpectralMetric, Spectrum


class Measured(NamedTuple):
    """A metric's value in a region, None where there is nothing to measure, and the spectrum behind it, if any."""

    value: float | None
    spectrum: Spectrum | None = None


class Comparison(NamedTuple):
    """One reference image, metric and region, by name and by content: uint8 (h, w), bool (h, w)."""

    reference: str
    target: Image
    name: str
    metric: ImageMetric
    region: str
    mask: Mask

    def measure(self, image: Image, *, data_range: float, pixel_mm: float | None) -> Measured:
        """The metric's value for uint8 `image` (h, w), and its spectrum where it has one.

        No value where the slice does not show the region. ScoringError as the metric.
        """
        if not self.mask.any():
            return Measured(None)
        if isinstance(self.metric, SpectralMetric):
            found = self.metric.spectrum(image, self.target, self.mask, pixel_mm=pixel_mm)
            return Measured(None if found is None else self.metric.of_spectrum(found), found)
        return Measured(self.metric.value(image, self.target, self.mask, data_range=data_range, pixel_mm=pixel_mm))


def comparisons(
    references: Mapping[str, Image], metrics: Mapping[str, ImageMetric], masks: Mapping[str, Mask]
) -> Iterator[Comparison]:
    """Every reference, metric and region of a slice, in this order, without the regions a metric does not apply to.

    References are uint8 (h, w) and masks bool (h, w), by name. Empty masks are yielded too: the slice lacks the region.
    """
    for reference, target in references.items():
        for name, metric in metrics.items():
            for region, mask in masks.items():
                if metric.regions is None or region in metric.regions:
                    yield Comparison(reference, target, name, metric, region, mask)
