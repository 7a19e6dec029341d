"""Parallel-beam tomography in float32: forward projection and filtered back-projection.

Geometry: a square image of n x n pixels of `pixel_mm`, rows downwards, columns to the right; the axis of rotation is
the image centre (n-1)/2. View k of V has the angle pi*k/V; channel j of n (also `pixel_mm` wide) holds the integral
along the line x cos(angle) + y sin(angle) = (j - (n-1)/2) * pixel_mm.

Each loop first computes the positions of a whole row, which compiles to vector instructions, and then fetches the
neighbours one by one. Blocks of views or rows are independent: the result is the same on any number of threads.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import scipy.fft
from numba import njit
from numpy.typing import NDArray

from harness.imaging.portable import cosines as cosines_of
from harness.imaging.portable import sines as sines_of
from harness.imaging.tomography._blocks import available, in_blocks

Kernel = Literal["ramp", "hann", "sharp"] | tuple[float, ...]
"""Reconstruction kernels: the bare ramp, the ramp under a Hann window, and a lung kernel that lifts the middle
frequencies the way vendors' sharp kernels do; or any window on the ramp as its gains at equal steps of frequency,
from 0 to Nyquist both included, at least two, joined by straight lines."""


# -------------------------------------------------------------------------------- forward projection
def radon(mu: NDArray[np.float32], *, pixel_mm: float, views: int, threads: int | None = None) -> NDArray[np.float32]:
    """Line integrals of `mu`: (n, n) in 1/mm -> (views, n), dimensionless, over 180 degrees.

    Joseph's method (IEEE TMI 1982): one linear interpolation per image row, or per column where the ray lies flat.
    `threads`: None for NUMBA_NUM_THREADS (the cores; 1 in `map_slices` workers).
    """
    n = _side(mu)
    # With two zero columns on either side the interpolation may run past the border without a branch.
    upright = np.pad(np.asarray(mu, np.float32), ((0, 0), (2, 2)))
    lying = np.pad(np.asarray(mu, np.float32).T, ((0, 0), (2, 2)))
    extents = _extent(upright), _extent(lying)
    angles = np.arange(views) * (math.pi / views)
    cosines, sines = cosines_of(angles), sines_of(angles)
    sinogram = np.zeros((views, n), np.float32)

    def project(first: int, end: int) -> None:
        _project(upright, lying, *extents, cosines[first:end], sines[first:end], sinogram[first:end])

    in_blocks(project, views, threads=available(threads))
    sinogram *= np.float32(pixel_mm)
    return sinogram


def _extent(image: NDArray[np.float32]) -> NDArray[np.int64]:
    """First and last non-zero column of each row, (rows, 2); in a row of zeros the last is before the first."""
    filled = image != 0
    columns = image.shape[1]
    last = np.where(filled.any(axis=1), columns - 1 - filled[:, ::-1].argmax(axis=1), -columns)
    return np.stack([filled.argmax(axis=1), last], axis=1)


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _project(
    upright: NDArray[np.float32],
    lying: NDArray[np.float32],
    upright_extent: NDArray[np.int64],
    lying_extent: NDArray[np.int64],
    cosines: NDArray[np.float64],
    sines: NDArray[np.float64],
    sinogram: NDArray[np.float32],
) -> None:
    views, n = sinogram.shape
    centre = (n - 1) / 2.0
    channels = np.arange(n).astype(np.float32)  # converting the loop index would keep it from being vectorised
    place, part = np.empty(n, np.uint32), np.empty(n, np.float32)
    for view in range(views):
        across, along = cosines[view], sines[view]
        image, extent = upright, upright_extent
        if abs(along) > abs(across):
            across, along = along, across
            image, extent = lying, lying_extent
        step = 1.0 / across
        weight = np.float32(abs(step))
        line = sinogram[view]
        for i in range(n):
            row = image[i]
            # Where channel j meets this row, in columns of the padded image: start + j * step.
            start = centre + 2.0 - (centre + (i - centre) * along) * step
            if extent[i, 1] < extent[i, 0]:
                continue
            # The channels whose rays pass between the outer neighbours of the non-zero columns.
            before, after = (extent[i, 0] - 1.0 - start) / step, (extent[i, 1] + 1.0 - start) / step
            lo, hi = min(before, after), max(before, after)
            first, last = max(0, math.ceil(lo)), min(n - 1, math.floor(hi))
            origin, stride = np.float32(start), np.float32(step)
            hit, hit_channels = line[first : last + 1], channels[first : last + 1]
            for j in range(len(hit)):
                at = origin + hit_channels[j] * stride
                column = np.int32(at)
                part[j] = at - np.float32(column)
                place[j] = np.uint32(column)
            for j in range(len(hit)):
                p = np.uintp(place[j])
                left = row[p]
                hit[j] += left + part[j] * (row[p + np.uintp(1)] - left)
        for j in range(n):
            line[j] *= weight


# -------------------------------------------------------------------------------- filtered back-projection
def fbp(
    sinogram: NDArray[np.float32],
    *,
    pixel_mm: float,
    kernel: Kernel,
    size: int | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Reconstruct attenuation in 1/mm: (views, n) line integrals over 180 degrees -> (size, size), default size n.

    The image has the channels' pixel size and centre. It is 0 outside the circle that the channels cover.
    Ramp filter by its exact band-limited impulse response (Kak & Slaney 1988, eq. 3.61), linear interpolation.
    `threads` as in `radon`.
    """
    views, n = sinogram.shape
    threads = available(threads)
    size = n if size is None else size
    padded = 1 << (2 * n - 1).bit_length()
    response = filter_response(padded, kernel=kernel) / pixel_mm * (math.pi / views)
    # FFTs and the response's exp and cos round their last bits by library and processor. In float64 that is 1e-16 of
    # the values, and rounding to float32 hides it: of 10^8 filtered samples one or so falls to the other side, by 6e-8
    # of itself, which would move a pixel by 1e-6 HU where a grey level is 8.7 HU wide. What follows is exact.
    spectrum = scipy.fft.rfft(np.asarray(sinogram, np.float64), padded, axis=1, workers=threads)
    spectrum *= response
    filtered = scipy.fft.irfft(spectrum, padded, axis=1, workers=threads)[:, : n + 1].astype(np.float32)
    levels = np.ascontiguousarray(filtered[:, :n])
    slopes = filtered[:, 1 : n + 1] - levels  # one channel more for the interpolation
    angles = np.arange(views) * (math.pi / views)
    cosines, sines = cosines_of(angles), sines_of(angles)
    image = np.zeros((size, size), np.float32)
    in_blocks(lambda first, end: _backproject(levels, slopes, cosines, sines, first, end, image), size, threads=threads)
    return image


def filter_response(padded: int, *, kernel: Kernel) -> NDArray[np.float64]:
    """Frequency response of `kernel` for channels of unit width, at the padded // 2 + 1 frequencies of an rfft."""
    lag = np.fft.fftfreq(padded, 1 / padded)
    impulse = np.zeros(padded)
    impulse[0] = 0.25
    odd = lag % 2 != 0
    impulse[odd] = -1 / (np.pi * lag[odd]) ** 2
    ramp = np.abs(np.fft.rfft(impulse))
    f = np.fft.rfftfreq(padded) * 2  # in units of the Nyquist frequency
    window: NDArray[np.float64]
    match kernel:
        case "ramp":
            window = np.ones_like(f)
        case "hann":
            window = (1 + np.cos(np.pi * f)) / 2
        case "sharp":
            # A slow cosine roll-off with a bump of 50 % at 0.45 Nyquist, falling to 0 over the last tenth.
            window = np.cos(np.pi * np.minimum(f, 0.9) / 1.9) * (1 + 0.5 * np.exp(-(((f - 0.45) / 0.2) ** 2)))
            window *= np.clip((1 - f) / 0.1, 0, 1) / window[0]  # gain 1 at frequency 0: water stays at 0 HU
        case _:
            window = np.interp(f, np.linspace(0, 1, len(kernel)), kernel)
    response: NDArray[np.float64] = ramp * window
    return response


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _backproject(
    levels: NDArray[np.float32],
    slopes: NDArray[np.float32],
    cosines: NDArray[np.float64],
    sines: NDArray[np.float64],
    top: int,
    bottom: int,
    image: NDArray[np.float32],
) -> None:
    views, channels = levels.shape
    size = image.shape[0]
    centre, middle = (size - 1) / 2.0, (channels - 1) / 2.0
    columns = np.arange(size).astype(np.float32)
    place, part = np.empty(size, np.uint32), np.empty(size, np.float32)
    for view in range(views):
        level, slope = levels[view], slopes[view]
        stride = np.float32(cosines[view])
        for i in range(top, bottom):
            y = i - centre
            if abs(y) > middle:
                continue
            half = math.sqrt(middle * middle - y * y)
            first, last = max(0, math.ceil(centre - half)), min(size - 1, math.floor(centre + half))
            origin = np.float32(middle + y * sines[view] - centre * cosines[view])
            row, row_columns = image[i, first : last + 1], columns[first : last + 1]
            for j in range(len(row)):
                at = origin + row_columns[j] * stride
                # Rounding may put a pixel of the rim just outside channel 0.
                at = at if at > np.float32(0) else np.float32(0)
                channel = np.int32(at)
                part[j] = at - np.float32(channel)
                place[j] = np.uint32(channel)
            for j in range(len(row)):
                p = np.uintp(place[j])
                row[j] += level[p] + part[j] * slope[p]


def _side(image: NDArray[np.float32]) -> int:
    if image.ndim != 2 or image.shape[0] != image.shape[1]:
        raise ValueError(f"expected a square image, found the shape {image.shape}")
    return int(image.shape[0])
