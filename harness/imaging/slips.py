"""Slips: what programs do to grey levels and axes by mistake, found by comparing outputs with their inputs.

A denoised slice is its input without noise: their averages over small blocks lie on the line y = x. Each slip moves
them away from it in its own way. Nothing here scores: a finding is a question to the author, never a verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.base.text import counted
from harness.imaging.hounsfield import Image, Window, grey
from harness.imaging.portable import gaussian_blur
from harness.imaging.turns import TURNS

Grey = NDArray[np.uint8]
Averages = NDArray[np.float64]

BLOCKS, SMALLEST = 64, 4  # of a slice's longer side; pixels of a block's: their mean has little noise left
ALIKE = 0.95  # correlation of block averages from which on two images show the same
SAME = 0.99  # of the output's variance: an input that explains as much is the output's own
CLEARLY = 0.5  # another place or slice explains the output only if it leaves at most this share of the variance
SLOPE = (0.75, 1.3)  # of output over input that a denoiser may have
OFFSET = 16.0  # grey levels that its mean may be off
WRAPPED_SHARE = 0.0005  # of the pixels: from here on they are no accident of edges
WHITE_SHARE = 0.5  # of the pixels, white in the output alone
FLAT = 4.0  # grey levels between the brightest and the darkest block: below it nothing is shown
MATCHED = 0.2  # correlation of edges: from here on two images show the same, if in another place
SURELY_MOVED = 0.93  # of the best correlation of edges: the most that may be left where nothing is moved
HARDLY = 0.5  # levels of RMS between output and input: rounding alone moves a pixel by as much
FAR, NEAR = 200.0, 48.0  # grey levels between output and input: as numbers, and around the circle of 256
UNLIKE = "unlike the input in grey levels and shapes: axes mixed up, or a wrong scale that wrapped around?"
BIN = 4.0  # grey levels of the input that share one mean of the output


class Difference(NamedTuple):
    """Output less input in pixel values: mean, and root mean square, which is about the noise that was taken away."""

    mean: float
    rms: float


def difference(noisy: Image, output: Image) -> Difference:
    """How far an output is from its input, both of one shape, uint8 or uint16 in HU."""
    apart = output.astype(np.float64) - noisy
    return Difference(mean=float(apart.mean()), rms=float(np.sqrt(np.square(apart).mean())))


def find_slips(noisy: Sequence[Image], outputs: Sequence[Image], *, window_hu: Window | None = None) -> list[str]:
    """What looks wrong with outputs, each beside its input (height x width, equal shapes and types), one line for each
    kind: "2 of 3 outputs are inverted: ...". Slices of 16 bits are looked at through `window_hu`."""
    found: Counter[str] = Counter()
    shown = [grey(one, window_hu) for one in noisy]
    for index, output in enumerate(outputs):
        others = [one for place, one in enumerate(shown) if place != index and one.shape == output.shape]
        slip = _same(noisy[index], output) or _slip(shown[index], grey(output, window_hu), others)
        if slip is not None:
            found[slip] += 1
    return [f"{count} of {counted(len(outputs), 'output')} {said}" for said, count in found.items()]


def _same(noisy: Image, output: Image) -> str | None:
    """Whether an output is its input, or nearly."""
    if np.array_equal(noisy, output):
        return "unchanged: equal to the input in every pixel"
    if difference(noisy, output).rms < HARDLY:
        level = "a grey level" if output.dtype == np.uint8 else "a HU"
        return f"hardly changed: less than half {level} (RMS) from the input"
    return None


def _slip(noisy: Grey, output: Grey, others: Sequence[Grey]) -> str | None:
    """The first slip that explains an output, None if it looks like its input without noise."""
    given, made = _averages(noisy), _averages(output)
    likeness = _correlation(given, made)
    white = float(np.mean((output == 255) & (noisy < 255)))
    if white > WHITE_SHARE:
        return f"saturated: {white:.0%} of the pixels have become white, as if multiplied by 255 twice"
    elsewhere = _elsewhere(given, made, [_averages(one) for one in others], likeness)
    if abs(likeness) >= ALIKE:
        return elsewhere or _moved(noisy, output) or _of_the_line(given, made) or _partly_wrapped(noisy, output)
    if np.ptp(made) < FLAT:
        return "flat: nearly one grey level everywhere, as if scaled to a far narrower range"
    return _wrapped(given, output) or elsewhere or _moved(noisy, output) or UNLIKE


# -------------------------------------------------------------------------------- the same place?
def _averages(image: Grey | NDArray[np.float32]) -> Averages:
    """Means of about BLOCKS x BLOCKS equal blocks."""
    height, width = image.shape
    side = max(SMALLEST, -(-max(height, width) // BLOCKS))
    small = (max(1, width // side), max(1, height // side))
    whole = image[: small[1] * side, : small[0] * side].astype(np.float32)
    return np.asarray(cv2.resize(whole, small, interpolation=cv2.INTER_AREA), dtype=np.float64)


def _correlation(first: Averages, second: Averages) -> float:
    """Of two images of one shape; 0 where one of them is constant."""
    a, b = first - first.mean(), second - second.mean()
    scale = float(np.sqrt(np.square(a).sum() * np.square(b).sum()))
    return float((a * b).sum()) / scale if scale else 0.0


def _explains(candidate: Averages, made: Averages, likeness: float) -> bool:
    """Whether a candidate leaves clearly less of the output unexplained than its own input does, which leaves some."""
    return likeness**2 < SAME and 1 - _correlation(candidate, made) ** 2 < CLEARLY * (1 - likeness**2)


def _elsewhere(given: Averages, made: Averages, others: Sequence[Averages], likeness: float) -> str | None:
    """Whether the input turned, or another slice's, explains the output clearly better than its own input does."""
    turned = {said: image for said, turn in TURNS.items() if (image := turn(given)).shape == made.shape}
    best = max(turned, key=lambda said: _correlation(turned[said], made))
    if _explains(turned[best], made, likeness):
        return best
    if any(_explains(one, made, likeness) for one in others):
        return "like another slice's input: were files or names mixed up?"
    return None


def _moved(noisy: Grey, output: Grey) -> str | None:
    """By how many pixels the output must be moved to fit, if at all: where the correlation of edges is highest."""
    edges = [gaussian_blur(image.astype(np.float32), 0.7) for image in (noisy, output)]
    edges = [one - gaussian_blur(one, 3.0) for one in edges]
    first, second = (np.fft.rfft2(one - one.mean()) for one in edges)
    scale = float(np.linalg.norm(edges[0]) * np.linalg.norm(edges[1]))
    fit = np.abs(np.fft.irfft2(second * np.conj(first), s=noisy.shape))
    place = np.unravel_index(int(fit.argmax()), fit.shape)
    if fit[place] < MATCHED * scale or fit[0, 0] > SURELY_MOVED * fit[place]:
        return None
    down, right = (int(at) if at <= size // 2 else int(at) - size for at, size in zip(place, fit.shape, strict=True))
    ways = [_far(down, "down", "up")] * bool(down) + [_far(right, "to the right", "to the left")] * bool(right)
    return f"shifted: what they show has moved {' and '.join(ways)}"


def _far(pixels: int, forward: str, backward: str) -> str:
    return f"{counted(abs(pixels), 'pixel')} {forward if pixels >= 0 else backward}"


# -------------------------------------------------------------------------------- the same grey levels?
def _of_the_line(given: Averages, made: Averages) -> str | None:
    """What is wrong with a line that output lies on over input."""
    slope = float(np.polyfit(given.ravel(), made.ravel(), 1)[0])
    if slope < 0:
        return "inverted: bright where the input is dark (or multiplied by 255 and wrapped around)"
    if not SLOPE[0] <= slope <= SLOPE[1]:
        return f"scaled: grey levels are {slope:.2g} times the input's, expected the same scale (0 to 255)"
    apart = float(np.median(made - given))
    if abs(apart) > OFFSET:
        return f"offset: grey levels lie {abs(apart):.0f} {'above' if apart > 0 else 'below'} the input's"
    return None


def _partly_wrapped(noisy: Grey, output: Grey) -> str | None:
    """Pixels that are far from the input as numbers and close to it around the circle of 256, as -3 stored as 253."""
    apart = output - gaussian_blur(noisy.astype(np.float32), 1.0)
    around = np.abs((apart + 128) % 256 - 128)
    share = float(np.mean((np.abs(apart) > FAR) & (around < NEAR)))
    return _said_wrapped(f"{share:.2%} of the pixels") if share > WRAPPED_SHARE else None


def _wrapped(given: Averages, output: Grey) -> str | None:
    """Whether the output is a line over the input that runs around the circle of 256 more than once."""
    angle = output.astype(np.float32) * np.float32(2 * np.pi / 256)
    pointer = _averages(np.cos(angle)) + 1j * _averages(np.sin(angle))
    bins = (given // BIN).astype(int)
    means = np.array([pointer[bins == one].sum() for one in range(int(bins.max()) + 1)])
    counts = np.bincount(bins.ravel(), minlength=means.size)
    there = counts >= 4
    if there.sum() < 8 or np.abs(means).sum() < 0.7 * np.abs(pointer).sum():
        return None
    levels = np.unwrap(np.angle(means[there])) * 256 / (2 * np.pi)
    middles = (np.flatnonzero(there) + 0.5) * BIN
    if np.corrcoef(middles, levels)[0, 1] ** 2 < ALIKE or np.ptp(levels) < 32:
        return None
    return _said_wrapped("grey levels")


def _said_wrapped(what: str) -> str:
    return f"wrapped around: {what} went below 0 or above 255 and came out at the other end; clip before np.uint8"
