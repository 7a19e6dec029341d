"""scikit-image's `radon` and `iradon` (circle=True, square images) in float64, bit for bit and several times as fast.

The published Add Noise was made with them, and its Poisson stream depends on the last bit of the sinogram. The kernels
therefore keep the order of all of scikit-image's floating-point operations and leave out only terms that add zero.
Fused multiply-adds would round differently: no `fastmath`. Each loop first computes the positions of a whole row, which
compiles to vector instructions, and then fetches and weighs the neighbours one by one.

Geometry (not that of `parallel_beam`): the axis of rotation is the pixel [n // 2, n // 2], seen by channel n // 2.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import scipy.fft
from numba import njit
from numpy.typing import NDArray

from harness.imaging.tomography._blocks import available, in_blocks

Filter = Literal["ramp", "shepp-logan", "cosine", "hamming", "hann"]
_PAD = 2  # the kernel samples up to 1.5 pixels outside the image


# -------------------------------------------------------------------------------- forward projection
def radon(
    image: NDArray[np.float64], angles: NDArray[np.float64], *, threads: int | None = None
) -> NDArray[np.float64]:
    """Sums along parallel rays: (n, n) at `angles` in degrees -> (n channels, angles), one view a column.

    The image is turned about its pixel [n // 2, n // 2] by bilinear interpolation and summed along its columns. Values
    must be finite. `threads` as in `parallel_beam.radon`. ValueError where the image is not square.
    """
    image = np.ascontiguousarray(image, np.float64)
    if image.ndim != 2 or image.shape[0] != image.shape[1] or not image.size:
        raise ValueError(f"expected a square image, found the shape {image.shape}")
    n = len(image)
    views = np.zeros((len(angles), n))
    rows, columns = np.nonzero(image)
    if rows.size:
        upright = np.pad(image, _PAD)
        lying = np.ascontiguousarray(upright.T)
        box = np.array([columns.min(), columns.max(), rows.min(), rows.max()], np.float64)
        # A pixel reaches less than sqrt(2) around its centre, and turning keeps its distance from the axis.
        reach = math.sqrt(((rows - n // 2) ** 2 + (columns - n // 2) ** 2).max()) + 1.5
        cosines, sines = _directions(angles)

        def project(first: int, end: int) -> None:
            _project(upright.ravel(), lying.ravel(), box, reach, cosines[first:end], sines[first:end], views[first:end])

        in_blocks(project, len(angles), threads=available(threads))
    return np.ascontiguousarray(views.T)


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _project(
    upright: NDArray[np.float64],
    lying: NDArray[np.float64],
    box: NDArray[np.float64],
    reach: float,
    cosines: NDArray[np.float64],
    sines: NDArray[np.float64],
    views: NDArray[np.float64],
) -> None:
    n = views.shape[1]
    centre = n // 2
    pitch = np.int32(n + 2 * _PAD)
    corner = np.int32(_PAD * pitch + _PAD)
    right, below, across = np.uintp(1), np.uintp(pitch), np.uintp(pitch + 1)
    x = np.arange(n).astype(np.float64)
    place, whole = np.empty(n, np.uint32), np.empty(n, np.int32)
    along_part, over_part = np.empty(n), np.empty(n)
    for view in range(len(views)):
        cosine, sine = cosines[view], sines[view]
        # Column and row of the image at (x, y) of the turned one: cosine x + sine y + .., -sine x + cosine y + ..
        to_column, to_row = -centre * (cosine + sine - 1), -centre * (cosine - sine - 1)
        # The coordinate that changes faster along x should be the contiguous one in memory.
        flat = abs(sine) > abs(cosine)
        for y in range(n):
            column_start, row_start = sine * y, cosine * y
            half = math.sqrt(max(reach * reach - (y - centre) * (y - centre), 0.0))
            lo, hi = max(0.0, centre - half), min(n - 1.0, centre + half)
            # Only within 1.5 pixels of the box of non-zero pixels; 1 would do, and the extra half pixel is far more
            # than rounding can shift.
            enter, leave = _between(box[0] - 1.5, box[1] + 1.5, column_start + to_column, cosine)
            lo, hi = max(lo, enter), min(hi, leave)
            enter, leave = _between(box[2] - 1.5, box[3] + 1.5, row_start + to_row, -sine)
            lo, hi = max(lo, enter), min(hi, leave)
            if lo > hi:
                continue
            first, end = math.ceil(lo), math.floor(hi) + 1
            xs, total = x[first:end], views[view, first:end]
            if flat:
                image, step, start, offset = lying, -sine, row_start, to_row
                over_step, over_start, over_offset = cosine, column_start, to_column
            else:
                image, step, start, offset = upright, cosine, column_start, to_column
                over_step, over_start, over_offset = -sine, row_start, to_row
            for j in range(len(xs)):
                at = (step * xs[j] + start) + offset
                down = np.floor(at)
                along_part[j] = at - down
                whole[j] = np.int32(down)
            for j in range(len(xs)):
                at = (over_step * xs[j] + over_start) + over_offset
                down = np.floor(at)
                over_part[j] = at - down
                place[j] = np.uint32(np.int32(down) * pitch + (whole[j] + corner))
            if flat:
                _add_bilinear(total, image, place, over_part, along_part, below, right, across)
            else:
                _add_bilinear(total, image, place, along_part, over_part, right, below, across)


@njit(inline="always", error_model="numpy")  # type: ignore[untyped-decorator]
def _add_bilinear(
    total: NDArray[np.float64],
    image: NDArray[np.float64],
    place: NDArray[np.uint32],
    column_part: NDArray[np.float64],
    row_part: NDArray[np.float64],
    next_column: np.uintp,
    next_row: np.uintp,
    next_both: np.uintp,
) -> None:
    """Add to each channel its sample: interpolated along the rows of the image that was passed, then across them.

    Where scikit-image takes the ceiling of a whole number, this takes the next pixel with the weight 0.
    """
    for j in range(len(total)):
        p = np.uintp(place[j])
        top = (1.0 - column_part[j]) * image[p] + column_part[j] * image[p + next_column]
        bottom = (1.0 - column_part[j]) * image[p + next_row] + column_part[j] * image[p + next_both]
        total[j] += (1.0 - row_part[j]) * top + row_part[j] * bottom


@njit(inline="always", error_model="numpy")  # type: ignore[untyped-decorator]
def _between(low: float, high: float, start: float, slope: float) -> tuple[float, float]:
    """Where start + slope * x lies between two bounds, which are never start itself where the slope is 0."""
    a, b = (low - start) / slope, (high - start) / slope
    return min(a, b), max(a, b)


# -------------------------------------------------------------------------------- filtered back-projection
def iradon(
    sinogram: NDArray[np.float64],
    angles: NDArray[np.float64],
    *,
    filter_name: Filter,
    threads: int | None = None,
) -> NDArray[np.float64]:
    """Filtered back-projection: (n channels, angles) at `angles` in degrees -> (n, n), 0 outside the circle.

    Ramp filter by its band-limited impulse response (Kak & Slaney 1988, chapter 3, eq. 61) under a window, linear
    interpolation. ValueError where the sinogram has not one column an angle.
    """
    sinogram = np.asarray(sinogram, np.float64)
    if sinogram.ndim != 2 or sinogram.shape[1] != len(angles) or not sinogram.size:
        raise ValueError(f"expected one column for each of {len(angles)} angles, found the shape {sinogram.shape}")
    n, threads = len(sinogram), available(threads)
    # scikit-image first widens the sinogram to the square's diagonal; the filter's length hangs on it.
    channels = math.ceil(math.sqrt(2) * n)
    before = channels // 2 - n // 2
    padded = max(64, 1 << math.ceil(math.log2(2 * channels)))
    wide = np.zeros((len(angles), padded))
    wide[:, before : before + n] = sinogram.T
    spectrum = scipy.fft.fft(wide, axis=1, workers=threads)
    spectrum *= _response(padded, filter_name)
    # The complex transform, though the result is real: another one would round differently.
    filtered = scipy.fft.ifft(spectrum, axis=1, workers=threads, overwrite_x=True).real
    levels = np.ascontiguousarray(filtered[:, :channels])
    slopes = np.zeros_like(levels)  # after the last channel nothing follows
    np.subtract(levels[:, 1:], levels[:, :-1], out=slopes[:, :-1])

    offsets = np.arange(n) - n // 2
    inside = offsets**2 + (offsets**2)[:, None] <= (n // 2) ** 2
    # The circle may pass the image's last row, but never the middle one: every row has an inside.
    extent = np.stack([inside.argmax(axis=1), n - inside[:, ::-1].argmax(axis=1)], axis=1)
    cosines, sines = _directions(angles)
    image = np.zeros((n, n))
    in_blocks(
        lambda first, end: _backproject(levels, slopes, extent, cosines, sines, first, end, image),
        n,
        threads=threads,
    )
    return image * np.pi / (2 * len(angles))


def _response(padded: int, filter_name: Filter) -> NDArray[np.float64]:
    """The filter at the frequencies of an fft of even length `padded`."""
    lag = np.concatenate((np.arange(1, padded // 2 + 1, 2), np.arange(padded // 2 - 1, 0, -2)))
    impulse = np.zeros(padded)
    impulse[0] = 0.25
    impulse[1::2] = -1 / (np.pi * lag) ** 2
    response: NDArray[np.float64] = 2 * np.real(scipy.fft.fft(impulse))
    match filter_name:
        case "ramp":
            pass
        case "shepp-logan":
            omega = np.pi * np.fft.fftfreq(padded)[1:]
            response[1:] *= np.sin(omega) / omega
        case "cosine":
            response *= np.fft.fftshift(np.sin(np.linspace(0, np.pi, padded, endpoint=False)))
        case "hamming":
            response *= np.fft.fftshift(np.hamming(padded))
        case "hann":
            response *= np.fft.fftshift(np.hanning(padded))
    return response


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _backproject(
    levels: NDArray[np.float64],
    slopes: NDArray[np.float64],
    extent: NDArray[np.int64],
    cosines: NDArray[np.float64],
    sines: NDArray[np.float64],
    top: int,
    bottom: int,
    image: NDArray[np.float64],
) -> None:
    views, channels = levels.shape
    n = len(image)
    centre, middle = n // 2, np.int32(channels // 2)
    offsets = (np.arange(n) - centre).astype(np.float64)
    place, part = np.empty(n, np.uint32), np.empty(n)
    for view in range(views):
        level, slope, cosine, sine = levels[view], slopes[view], cosines[view], sines[view]
        for i in range(top, bottom):
            first, end = extent[i]
            xs, row = offsets[first:end], image[i, first:end]
            away = (i - centre) * sine
            for j in range(len(xs)):
                at = xs[j] * cosine - away
                down = np.floor(at)
                part[j] = at - down
                place[j] = np.uint32(np.int32(down) + middle)
            for j in range(len(xs)):
                p = np.uintp(place[j])
                row[j] += slope[p] * part[j] + level[p]


def _directions(angles: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cosines and sines of angles in degrees, one by one as scikit-image takes them: numpy's vector code may differ."""
    radians = np.deg2rad(angles)
    return np.array([np.cos(angle) for angle in radians]), np.array([np.sin(angle) for angle in radians])
