"""Error without truth and without label: coupled bootstrap on the noisy slice itself.

A slice A = x + e shows anatomy x under noise e of covariance S. Noise z of the same covariance is drawn anew, and a
denoiser f gets A + a z. What is kept, A - z/a, has noise that is uncorrelated with the input's, so that the mean square
of f(A + a z) - (A - z/a) is that of f(A + a z) - x plus (1 + 1/a^2) tr S, which no denoiser changes: the error against
the truth, for any f, at the slightly stronger noise (1 + a^2) S (Oliveira, Lei & Tibshirani, arXiv 2111.09447).

Two inputs are made of every z, A + a z and A - a z. Averaged over both, everything of order 1/a cancels but the part
that depends on f, so that a can be small, which keeps the denoiser at its task, without the estimate becoming noisy.

z is inserted on the line integrals of A itself with the noise averaged out (`clean_paths`). It is the difference of two
readings over the root of 2: as likely as -z, and free of the shift that starved rays give to a scan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.imaging.hounsfield import Image, clipped, hu_per_level, whole_levels
from harness.imaging.insertion import Scanner, project, reconstructed
from harness.imaging.noise_level import spread
from harness.imaging.portable import exps, gaussian_blur, logs
from harness.imaging.regions import erode, field_of_view
from harness.imaging.tomography import MU_WATER, bowtie, detect, mean_log_counts
from harness.statistics import Interval, Replicates, replicates

STEP = 0.2
"""The share a of z that goes into an input: its noise is 2 % stronger than the slice's own."""
FEWEST_CALM = 2000
"""Pixels that `noise_ratio` needs: the median of their noise is then known to some 3 %."""

_PATHS_SIGMA = 1.5
"""Blur of the sinogram in channels and in views. It leaves a fifth of the noise, too little to make e^path larger on
average, and no more of the anatomy is lost than moves a path by a hundredth."""
_AIR = 15
"""Width of the median that stands for air whose noise is clipped."""
_CALM_SHARE = 0.25
_CALM_RANGE = (2.0, 8.0)
"""Calm is what shows no more structure between these blurs, in pixels, than noise does."""
_FINE = 1.0
"""Blur in pixels that leaves the noise to be measured; anatomy is weaker here than at 2 pixels."""

Mask = NDArray[np.bool_]


class Coupled(NamedTuple):
    """A slice split in two ways; all arrays are (height, width)."""

    inputs: tuple[Image, Image]
    """A + a z and A - a z in the slice's own grey levels."""
    noise: NDArray[np.float32]
    """z, in HU; 0 outside the field of view."""
    step: float


def couple(
    image: Image,
    *,
    window_hu: tuple[float, float],
    pixel_mm: float,
    scanner: Scanner,
    rng: np.random.Generator,
    calibrate: bool,
    step: float = STEP,
) -> Coupled:
    """The inputs that a denoiser gets in place of a noisy slice, and the noise that they share.

    `image` is uint8 or uint16 (height, width) in the window `window_hu` (`harness.imaging.hounsfield`); `scanner` has
    the photons of this very scan, not of one at normal dose. `rng` gives raw bits only
    (`harness.imaging.draws.generator`): its key decides every byte.
    With `calibrate` the noise is scaled by `noise_ratio`, for a scanner that is known roughly or whose tube current
    varies; a scanner that is known exactly needs none. ValueError unless 0 < `step` <= 1, the image has 8 or 16 bits
    and the window rises; as `noise_ratio` with `calibrate`.
    """
    _check(image, window_hu)
    if not 0 < step <= 1:
        raise ValueError(f"expected a step above 0 and at most 1, found {step}")
    inside = field_of_view(image)
    paths = clean_paths(image, window_hu=window_hu, pixel_mm=pixel_mm, scanner=scanner)
    noise = np.where(inside, _symmetric_noise(paths, image.shape, pixel_mm, scanner, rng), np.float32(0))
    if calibrate:
        noise = noise * np.float32(noise_ratio(image, noise, window_hu=window_hu))
    low, high = window_hu
    moved = noise * np.float32(step * np.iinfo(image.dtype).max / (high - low))
    plus, minus = (whole_levels(image + sign * moved, image.dtype) for sign in (1, -1))
    return Coupled(inputs=(plus, minus), noise=noise, step=step)


def clean_paths(
    image: Image, *, window_hu: tuple[float, float], pixel_mm: float, scanner: Scanner
) -> NDArray[np.float32]:
    """Line integrals (views, channels) of what a noisy slice shows, without its noise, float32.

    Projected is the slice itself: only a linear filter, here a blur of the sinogram, leaves the mean path where it is.
    Air below vacuum, which noise makes, keeps its sign; air that the window clips gets its median. What starved rays
    read too much on average, and a slice shows of that, is taken off again.
    """
    low = window_hu[0]
    step = np.float32(hu_per_level(window_hu, image.dtype))
    hu = image.astype(np.float32) * step + np.float32(low)
    inside = erode(field_of_view(image), 2)  # without the rim, where some scans show padding already
    black = _share_around((image == 0) & inside) > 0.25
    if black.any():
        median = np.asarray(cv2.medianBlur(image, _AIR), np.float32) * step + np.float32(low)
        hu = np.where(black, np.maximum(median, np.float32(-1000)), hu)

    def paths(hu_above_air: NDArray[np.float32]) -> NDArray[np.float32]:
        mu = np.where(inside, hu_above_air * np.float32(1e-3 * MU_WATER), np.float32(0))
        return gaussian_blur(project(mu, inside=inside, pixel_mm=pixel_mm), _PATHS_SIGMA)

    read = paths(hu + np.float32(1000))
    excess = _starved_excess(read, pixel_mm=pixel_mm, scanner=scanner)
    return read - paths(reconstructed(excess, shape=image.shape, pixel_mm=pixel_mm, kernel=scanner.kernel))


def _starved_excess(read: NDArray[np.float32], *, pixel_mm: float, scanner: Scanner) -> NDArray[np.float32]:
    """By how much the scanner reads each path too long on average, given its mean readings; float32 of their shape."""
    log_counts = np.arange(-1.5, 14.0, 0.125)  # below the first every count is set to 1, above the last none is biased
    mean_logs = mean_log_counts(exps(log_counts), electronic=scanner.electronic)
    before = logs(scanner.photons * bowtie(read.shape[1], pixel_mm=pixel_mm).astype(np.float64))
    excess = np.interp(before - read, mean_logs, log_counts - mean_logs, right=0.0)
    found: NDArray[np.float32] = excess.astype(np.float32)
    return found


def noise_ratio(image: Image, noise: NDArray[np.float32], *, window_hu: tuple[float, float]) -> float:
    """How much stronger a slice's own noise is than `noise` (HU, float32 of its shape), as a ratio of amplitudes.

    Both are measured in the same pixels: the calmest quarter of those that are not clipped, where anatomy adds less
    than one percent. ValueError where these are fewer than `FEWEST_CALM`, or `noise` is 0 there.
    """
    _check(image, window_hu)
    hu = image.astype(np.float32) * np.float32(hu_per_level(window_hu, image.dtype))
    fine, coarse = _CALM_RANGE

    def relief(pixels: NDArray[np.float32], reach: float) -> NDArray[np.float32]:
        return np.sqrt(gaussian_blur((gaussian_blur(pixels, fine) - gaussian_blur(pixels, coarse)) ** 2, reach))

    usable = erode(field_of_view(image), _AIR) & (_share_around(clipped(image)) < 0.03)
    usable[:_AIR, :] = usable[-_AIR:, :] = usable[:, :_AIR] = usable[:, -_AIR:] = False
    wanted = int(_CALM_SHARE * np.count_nonzero(usable))
    if wanted < FEWEST_CALM:
        raise ValueError(
            f"expected at least {FEWEST_CALM} calm pixels that are not clipped, found {wanted}: check window_hu"
        )
    structure = relief(hu, 2 * fine) / np.maximum(relief(noise, 2 * coarse), np.float32(1e-3))
    calm = usable & (structure <= np.partition(structure[usable], wanted)[wanted])
    own, drawn = (spread((pixels - gaussian_blur(pixels, _FINE))[calm]) for pixels in (hu, noise))
    if drawn == 0:
        raise ValueError("the drawn noise is 0 where the slice's own is measured: check the scanner's photons")
    return own / drawn


def squared_error(
    outputs: tuple[Image, Image], image: Image, coupled: Coupled, mask: Mask, *, window_hu: tuple[float, float]
) -> float:
    """The mean square of a denoiser's error against the truth in a region of a slice, estimated, in HU^2.

    `outputs` are what it made of `coupled.inputs`, of the type of the slice `image`; `mask` is bool (height, width).
    Unbiased where nothing is clipped, and so now and then below 0 where the error is small: pool the slices before
    taking a root. ValueError where shapes differ or the mask is empty.
    """
    shapes = {array.shape for array in (*outputs, image, coupled.noise, mask)}
    if len(shapes) > 1:
        raise ValueError(f"outputs, image, noise and mask differ in shape: {sorted(shapes)}")
    if not mask.any():
        raise ValueError("the region is empty in this slice: leave the slice out for this region")
    scale = hu_per_level(window_hu, image.dtype)
    own, noise = image[mask].astype(np.float64), coupled.noise[mask].astype(np.float64)
    plus, minus = (output[mask].astype(np.float64) for output in outputs)
    # The mean of |f(A + a z) - (A - z/a)|^2 and of |f(A - a z) - (A + z/a)|^2, without |z|^2 / a^2: that is the same
    # for every denoiser, and known. Then minus |z|^2 in place of |e|^2.
    misfit = scale**2 * float(np.mean((plus - own) ** 2 + (minus - own) ** 2)) / 2
    follows = scale * float(np.mean((plus - minus) * noise)) / coupled.step
    return misfit + follows - float(np.mean(noise**2))


def clipped_share(image: Image, coupled: Coupled, mask: Mask) -> float:
    """Share of a region's pixels that are black or white in a slice or in its inputs: their noise is cut off, and the
    estimate does not hold for them."""
    cut_off = np.zeros(image.shape, bool)
    for shown in (image, *coupled.inputs):
        cut_off |= clipped(shown)
    return float(cut_off[mask].mean()) if mask.any() else 0.0


def pooled(errors: Sequence[float], patients: Sequence[str]) -> Replicates:
    """The mean of the slices' `squared_error`, in HU^2, with and without each patient; it may be below 0."""
    values = np.asarray(errors, np.float64)
    return replicates(lambda chosen: float(values[chosen].mean()), patients)


def root(of: Interval) -> Interval:
    """Mean squared error to root mean square error in HU; what is below 0 reads as 0, no error that could be told."""
    value, low, high = (None if one is None else math.sqrt(max(one, 0.0)) for one in (of.value, of.low, of.high))
    assert value is not None
    return Interval(value=value, low=low, high=high, n=of.n)


def _symmetric_noise(
    paths: NDArray[np.float32], shape: tuple[int, ...], pixel_mm: float, scanner: Scanner, rng: np.random.Generator
) -> NDArray[np.float32]:
    """A scan's noise in HU, float32 of `shape`: the difference of two readings of the same rays, over the root of 2."""
    first, second = (
        detect(paths, photons=scanner.photons, pixel_mm=pixel_mm, electronic=scanner.electronic, rng=rng)
        for _ in range(2)
    )
    return reconstructed(
        (first - second) * np.float32(math.sqrt(0.5)), shape=shape, pixel_mm=pixel_mm, kernel=scanner.kernel
    )


def _share_around(mask: Mask) -> NDArray[np.float32]:
    """Share of the mask's pixels around each pixel."""
    return np.asarray(cv2.blur(mask.astype(np.float32), (_AIR, _AIR)))


def _check(image: Image, window_hu: tuple[float, float]) -> None:
    if image.ndim != 2 or image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"expected a slice of 8 or 16 bits, found {image.dtype} {image.shape}")
    if not window_hu[0] < window_hu[1]:
        raise ValueError(f"expected a window from low to high HU, found {window_hu}")
