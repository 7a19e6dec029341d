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

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.fft import rfft2

from harness.imaging.hounsfield import Image
from harness.metrics._images import MASKS, check, once_per_slice
from harness.metrics._metric import Mask, SpectralMetric, Spectrum

_PATCH = 64
_HANN = np.hanning(_PATCH + 1)[:_PATCH].astype(np.float32)
_TAPER = np.outer(_HANN, _HANN)
_PLANE = np.stack([np.ones((_PATCH, _PATCH)), *np.mgrid[-1 : 1 : _PATCH * 1j, -1 : 1 : _PATCH * 1j]]).astype(np.float32)
_STEP = _PATCH // 2
_RING = np.rint(_PATCH * np.hypot(np.fft.fftfreq(_PATCH)[:, None], np.fft.rfftfreq(_PATCH))).astype(np.intp)
_TIMES = np.broadcast_to(np.where(np.arange(_STEP + 1) % _STEP == 0, 1.0, 2.0), _RING.shape)  # of its mirror image, too
_ROUNDING = 1e-6  # grey levels squared: what detrending leaves of a constant


def radial_spectrum(image: NDArray[np.generic], mask: Mask, *, pixel_mm: float | None) -> Spectrum | None:
    """Frequencies (31,) and noise power at them, averaged over directions, of `image` (h, w) within bool `mask` (h, w).

    `image` is noise: a difference of two images, or an image of a uniform object. Frequencies are in 1/mm and power in
    grey levels^2 mm^2; where `pixel_mm` is None they are per pixel. Over the plane of frequencies the power integrates
    to the variance. None where no patch of 64 x 64 pixels has half of its weight in the mask.
    """
    found = _patches(mask) if min(image.shape) >= _PATCH else None
    if found is None:
        return None
    patches = sliding_window_view(image, (_PATCH, _PATCH))[::_STEP, ::_STEP][found.rows, found.columns]
    waves = rfft2(_detrended(patches.astype(np.float32), found))
    power = (waves.real**2 + waves.imag**2).sum(axis=0, dtype=np.float64)
    rings = np.bincount(_RING.ravel(), (power * _TIMES).ravel()) / np.bincount(_RING.ravel(), _TIMES.ravel())
    radial = rings[2 : _PATCH // 2 + 1] / found.weight
    size = 1.0 if pixel_mm is None else pixel_mm
    return np.arange(2, _PATCH // 2 + 1) / (_PATCH * size), radial * size**2


class _Patches(NamedTuple):
    """Where the patches of a region lie, the weights of their pixels (k, n, n), the sum of their squares, and what the
    fit of a plane needs of them (k, 3, 3)."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    weights: NDArray[np.float32]
    weight: float
    normal: NDArray[np.float64]


@once_per_slice(MASKS)
def _patches(mask: Mask) -> _Patches | None:
    """The patches of which half the weight lies in bool `mask` (h, w); None without any."""
    masks = sliding_window_view(mask, (_PATCH, _PATCH))[::_STEP, ::_STEP]
    rows, columns = np.nonzero(np.einsum("ijyx,yx->ij", masks, _TAPER**2) >= 0.5 * (_TAPER**2).sum())
    if not len(rows):
        return None
    weights = masks[rows, columns] * _TAPER
    normal = np.einsum("kyx,ayx,byx->kab", weights, _PLANE, _PLANE, optimize=True).astype(np.float64)
    return _Patches(rows, columns, weights, float(np.sum(weights**2, dtype=np.float64)), normal)


def _detrended(patches: NDArray[np.float32], of: _Patches) -> NDArray[np.float32]:
    """Patches (k, n, n), each minus the plane that fits it best under its weights, and times these."""
    right = np.einsum("kyx,ayx->ka", of.weights * patches, _PLANE, optimize=True)
    planes = np.linalg.solve(of.normal, right[:, :, None].astype(np.float64))[:, :, 0]
    patches -= np.einsum("ka,ayx->kyx", planes.astype(np.float32), _PLANE, optimize=True)
    patches *= of.weights
    return patches


def spectrum(image: Image, reference: Image, mask: Mask, *, pixel_mm: float | None) -> Spectrum | None:
    """`radial_spectrum` of `image` - `reference` (h, w) over bool `mask` (h, w).

    None where the images differ by no more than a constant or a slope, or no patch fits. ScoringError for different
    sizes or an empty mask.
    """
    check(image, reference, mask)
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
