"""Recovered contrast of the phantom's nodules, relative to the reference's: 1 is ideal, below 1 they are blurred.

The mean of the whole nodule minus the mean of the lung around it, divided by the same difference in the reference, as
contrast recovery is measured on the hot spheres of NEMA NU 2. Both images use the same pixels, so noise in the image
alone leaves the ratio at 1 on average. Above 1 nodules are exaggerated.
"""

from __future__ import annotations

from harness.imaging.hounsfield import Image
from harness.metrics._images import check, recovered_contrast
from harness.metrics._metric import ImageMetric, Mask
from harness.metrics._nodules import lung_around


def value(image: Image, reference: Image, mask: Mask, *, data_range: float, pixel_mm: float | None) -> float | None:
    """Contrast of the nodules, bool `mask` (h, w), in `image` (h, w), over the contrast in `reference`.

    None where the nodules have fewer than 20 pixels or no lung surrounds them. ScoringError for different sizes or an
    empty mask.
    """
    del data_range, pixel_mm  # every image metric takes them; this one needs neither
    check(image, reference, mask)
    lung = lung_around(reference, mask)
    return None if lung is None else recovered_contrast(image, reference, mask, lung)


METRIC = ImageMetric(
    value=value,
    unit="",
    higher_is_better=None,
    regions=("nodules",),
    implementation="contrast recovery over whole nodules (after NEMA NU 2), relative to the reference's, own code",
)
