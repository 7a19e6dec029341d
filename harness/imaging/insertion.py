"""Add Noise, corrected: a lower dose simulated on a normal-dose slice by inserting noise alone.

The slice itself is kept, and `FBP(q - p)` is added to it: p are its line integrals on calibrated attenuation, q the
same as a detector measures them at the lower dose. The anatomy is neither blurred nor stretched, and the noise has the
strength, streaks and texture of that dose (Yu et al., J Comput Assist Tomogr 36 (2012)).
"""

from __future__ import annotations

import math
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.base.structs import Strict
from harness.imaging.hounsfield import Image, hu_per_level, whole_levels
from harness.imaging.regions import field_of_view
from harness.imaging.tomography import MU_WATER, Kernel, detect, fbp, hu_to_mu, radon

VIEWS_PER_CHANNEL = 720 / 512


class Scanner(Strict, frozen=True, kw_only=True):
    """What decides the noise of a normal-dose scan: photons per ray before the patient (behind the middle of the
    bowtie filter), the standard deviation of the detector's own noise in photons, and the reconstruction kernel."""

    photons: Annotated[float, msgspec.Meta(gt=0)]
    electronic: Annotated[float, msgspec.Meta(ge=0)]
    kernel: Kernel


def insert_noise(
    image: Image,
    *,
    window_hu: tuple[float, float],
    pixel_mm: float,
    scanner: Scanner,
    dose: float,
    rng: np.random.Generator,
    sinogram: NDArray[np.float32] | None = None,
) -> Image:
    """A slice (uint8 or uint16, height x width, in the window `window_hu`) as if scanned at the fraction `dose` of its
    dose.

    `sinogram` is the slice's own `line_integrals`, where they are known already.
    """
    if sinogram is None:
        sinogram = line_integrals(image, window_hu=window_hu, pixel_mm=pixel_mm)
    noise = noise_image(
        sinogram,
        shape=image.shape,
        pixel_mm=pixel_mm,
        scanner=scanner,
        dose=dose,
        rng=rng,
    )
    (low, high), largest = window_hu, np.iinfo(image.dtype).max
    levels = image + np.where(field_of_view(image), noise, np.float32(0)) * np.float32(largest / (high - low))
    return whole_levels(levels, image.dtype)


def line_integrals(image: Image, *, window_hu: tuple[float, float], pixel_mm: float) -> NDArray[np.float32]:
    """Line integrals (views, channels) of a slice (uint8 or uint16, height x width) on calibrated attenuation.

    They depend on neither dose nor scanner: one sinogram serves any number of realisations. A slice that fills its
    image is projected on as many channels as its diagonal is long, so that the corners get noise too.
    """
    step = np.float32(hu_per_level(window_hu, image.dtype))
    hu = image.astype(np.float32) * step + np.float32(window_hu[0])
    return project(hu_to_mu(hu), inside=field_of_view(image), pixel_mm=pixel_mm)


def project(mu: NDArray[np.float32], *, inside: NDArray[np.bool_], pixel_mm: float) -> NDArray[np.float32]:
    """Line integrals (views, channels) of attenuation in 1/mm, float32 (height, width), as `line_integrals` makes them.

    `inside` is the slice's field of view: where it leaves nothing out, there are as many channels as the diagonal is
    long.
    """
    height, width = mu.shape
    channels = height if not inside.all() else 2 * math.ceil(math.hypot(height, width) / 2)
    top, left = (channels - height) // 2, (channels - width) // 2
    canvas = np.zeros((channels, channels), np.float32)
    canvas[top : top + height, left : left + width] = mu
    return radon(canvas, pixel_mm=pixel_mm, views=round(VIEWS_PER_CHANNEL * max(height, width)))


def noise_image(
    sinogram: NDArray[np.float32],
    *,
    shape: tuple[int, ...],
    pixel_mm: float,
    scanner: Scanner,
    dose: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """The noise, in HU, that brings a scan at normal dose down to the fraction `dose` of it: float32 of `shape`.

    The scan has noise of its own. The noise missing at dose a has the difference of the two variances of a line
    integral, (1/a - 1) / N + (1/a^2 - 1) (s/N)^2 for N counts and electronic noise s: the variance of a detector with
    N a/(1 - a) photons and electronic noise s sqrt((1 + a)/(1 - a)). ValueError unless 0 < `dose` < 1.
    """
    if not 0 < dose < 1:
        raise ValueError(f"expected a dose between 0 and 1, as a fraction of the slice's own dose, found {dose}")
    missing = Scanner(
        photons=scanner.photons * dose / (1 - dose),
        electronic=scanner.electronic * math.sqrt((1 + dose) / (1 - dose)),
        kernel=scanner.kernel,
    )
    return scan_noise(sinogram, shape=shape, pixel_mm=pixel_mm, scanner=missing, rng=rng)


def scan_noise(
    sinogram: NDArray[np.float32],
    *,
    shape: tuple[int, ...],
    pixel_mm: float,
    scanner: Scanner,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """All the noise, in HU, of a scan of an object with these line integrals: float32 of `shape`, `FBP(q - p)`."""
    measured = detect(sinogram, photons=scanner.photons, pixel_mm=pixel_mm, electronic=scanner.electronic, rng=rng)
    return reconstructed(measured - sinogram, shape=shape, pixel_mm=pixel_mm, kernel=scanner.kernel)


def reconstructed(
    errors: NDArray[np.float32], *, shape: tuple[int, ...], pixel_mm: float, kernel: Kernel
) -> NDArray[np.float32]:
    """Errors of line integrals (views, channels) as they show in the slice, in HU: float32 of `shape`."""
    height, width = shape
    side = errors.shape[1]
    noise = fbp(errors, pixel_mm=pixel_mm, kernel=kernel, size=side)
    top, left = (side - height) // 2, (side - width) // 2
    return noise[top : top + height, left : left + width] * np.float32(1000 / MU_WATER)
