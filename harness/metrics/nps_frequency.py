"""Mean frequency of the noise power spectrum of the difference between image and reference: the noise's texture.

Against a noise-free reference the difference is the remaining noise and the lost structure; against a label, also the
label's own noise. The noisy input's own value is ideal: a denoiser that removes fine noise and leaves blotches lowers
it, one that sharpens noise raises it. White noise has 0.27 per pixel (17/64).

AAPM TG-233 (Samei et al., Med Phys 46 (2019)): f_av = sum(f NPS(f)) / sum(NPS(f)) of the radial spectrum, from
detrended patches. Patches are 64 pixels wide, half overlapping, and tapered (Hann), so that a region of any shape can
be measured: a patch counts where half its weight lies within the region, and is zero outside. Detrending empties the
lowest ring of frequencies, which is left out: waves longer than 32 pixels are shading, not texture.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.fft import fft2

from harness.imaging.hounsfield import Image
from harness.metrics._images import within
from harness.metrics._metric import Mask, SpectralMetric, Spectrum

_PATCH = 64
_HANN = np.hanning(_PATCH + 1)[:_PATCH].astype(np.float32)
_TAPER = np.outer(_HANN, _HANN)
_PLANE = np.stack([np.ones((_PATCH, _PATCH)), *np.mgrid[-1 : 1 : _PATCH * 1j, -1 : 1 : _PATCH * 1j]]).astype(np.float32)
_ROUNDING = 1e-6  # grey levels squared: what detrending leaves of a constant


def radial_spectrum(image: NDArray[np.generic], mask: Mask, *, pixel_mm: float | None) -> Spectrum | None:
    """Frequencies (31,) and noise power at them, averaged over directions, of `image` (h, w) within bool `mask` (h, w).

    `image` is noise: a difference of two images, or an image of a uniform object. Frequencies are in 1/mm and power in
    grey levels^2 mm^2; where `pixel_mm` is None they are per pixel. Over the plane of frequencies the power integrates
    to the variance. None where no patch of 64 x 64 pixels has half of its weight in the mask.
    """
    if min(image.shape) < _PATCH:
        return None
    step = _PATCH // 2
    masks = sliding_window_view(mask, (_PATCH, _PATCH))[::step, ::step]
    rows, columns = np.nonzero(np.einsum("ijyx,yx->ij", masks, _TAPER**2) >= 0.5 * (_TAPER**2).sum())
    if not len(rows):
        return None
    weights = masks[rows, columns] * _TAPER
    patches = sliding_window_view(image, (_PATCH, _PATCH))[::step, ::step][rows, columns].astype(np.float32)
    power = np.abs(fft2(weights * _detrended(patches, weights))) ** 2
    spectrum = power.sum(axis=0, dtype=np.float64) / np.sum(weights**2, dtype=np.float64)

    frequency = np.fft.fftfreq(_PATCH)
    ring = np.rint(_PATCH * np.hypot(frequency[:, None], frequency)).astype(np.intp).ravel()
    radial = (np.bincount(ring, spectrum.ravel()) / np.bincount(ring))[2 : _PATCH // 2 + 1]
    size = 1.0 if pixel_mm is None else pixel_mm
    return np.arange(2, _PATCH // 2 + 1) / (_PATCH * size), radial * size**2


def _detrended(patches: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Patches (k, n, n), each minus the plane that fits it best under its weights."""
    normal = np.einsum("kyx,ayx,byx->kab", weights, _PLANE, _PLANE, optimize=True)
    right = np.einsum("kyx,ayx->ka", weights * patches, _PLANE, optimize=True)
    planes = np.linalg.solve(normal.astype(np.float64), right[:, :, None].astype(np.float64))[:, :, 0]
    trend: NDArray[np.float32] = np.einsum("ka,ayx->kyx", planes.astype(np.float32), _PLANE, optimize=True)
    return patches - trend


def spectrum(image: Image, reference: Image, mask: Mask, *, pixel_mm: float | None) -> Spectrum | None:
    """`radial_spectrum` of `image` - `reference` (h, w) over bool `mask` (h, w).

    None where the images differ by no more than a constant or a slope, or no patch fits. ScoringError for different
    sizes or an empty mask.
    """
    within(image, reference, mask)
    found = radial_spectrum(image.astype(np.float32) - reference, mask, pixel_mm=pixel_mm)
    return None if found is None or found[1].sum() < _ROUNDING * (pixel_mm or 1.0) ** 2 else found


def of_spectrum(found: Spectrum) -> float:
    """The mean frequency of a spectrum, in its frequencies' unit: 1/mm, or per pixel (1/32 to 1/2)."""
    frequencies, power = found
    return float((frequencies * power).sum() / power.sum())


def value(image: Image, reference: Image, mask: Mask, *, data_range: float, pixel_mm: float | None) -> float | None:
    """Mean frequency of `spectrum`, None where that is None."""
    del data_range  # every image metric takes it; this one does not need it
    found = spectrum(image, reference, mask, pixel_mm=pixel_mm)
    return None if found is None else of_spectrum(found)


METRIC = SpectralMetric(
    value=value,
    spectrum=spectrum,
    of_spectrum=of_spectrum,
    unit="1/mm",
    higher_is_better=None,
    implementation="mean frequency of the radial NPS (AAPM TG-233), Hann patches of 64 pixels, own code",
)
