"""Visual information fidelity: how much of the reference's information the image still has.

Sheikh & Bovik, "Image information and visual quality", IEEE TIP 15 (2006), in the pixel domain (VIF-P): four scales of
Gaussian windows instead of the paper's wavelets; the variance of the visual noise is 2 at a data range of 255. The
implementation is torchmetrics'. 1 for equal images; above 1 the image has more contrast than the reference.
"""

from __future__ import annotations

import numpy as np

from harness.base.errors import ScoringError
from harness.metrics._images import within
from harness.metrics._metric import Image, ImageMetric, Mask
from harness.metrics._torchmetrics import tensor, visual_information_fidelity

_SMALLEST = 41  # pixels that the fourth scale's window needs
_VISUAL_NOISE = 2.0 / 255**2


def value(image: Image, reference: Image, mask: Mask, *, data_range: float, pixel_mm: float | None) -> float | None:
    """VIF of uint8 `image` (h, w) against `reference`; pixels outside bool `mask` (h, w) count as equal.

    None where the reference is constant and holds no information.
    ScoringError for different sizes, an empty mask, or images smaller than 41 pixels.
    """
    del pixel_mm  # every image metric takes it; the scales are in pixels
    within(image, reference, mask)
    if min(image.shape) < _SMALLEST:
        raise ScoringError(f"VIF needs images of at least {_SMALLEST} x {_SMALLEST} pixels, found {image.shape}")
    if reference.min() == reference.max():
        return None
    seen = np.where(mask, image, reference)
    noise = _VISUAL_NOISE * data_range**2
    return float(visual_information_fidelity(tensor(seen), tensor(reference), sigma_n_sq=noise))


METRIC = ImageMetric(
    value=value,
    unit="",
    higher_is_better=True,
    regions=("whole",),
    uses_torch=True,
    implementation="pixel-domain VIF (Sheikh & Bovik 2006), visual noise 2, torchmetrics in float32",
)
