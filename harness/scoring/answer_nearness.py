"""Answer nearness: outputs that are nearer to an answer than an estimate of it from a noisy slice can be.

An answer that was looked up and then changed (a grey level more, other contrast, a few pixels off, JPEG) shares few
pixels with the answer, and is still far nearer to it than any denoiser comes. Distances are taken behind the gain and
the offset that fit best, in parts of the spectrum, and in whole grey levels / 256, so that sums are exact on every
machine. `benchmarks/answer_lookup.py` measures those of honest outputs (docs/cheating.md).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.imaging.hounsfield import Image
from harness.imaging.noise_level import spread
from harness.imaging.portable import gaussian_blur, gaussian_weights

Mask = NDArray[np.bool_]

SIGMAS = (1.0, 2.0, 4.0)
"""Gaussians, in pixels, between which parts of the spectrum lie. Finer ones are left out, where a blur is as near to a
smooth truth as the noise of a good scan; coarser ones too, of which a region holds only a few."""

NEARER = 6.0
"""An output must also be so many times nearer to the truth than its input, which matters where the input is not very
noisy: honest denoisers come nearer by a factor of 3."""

OF_LABEL = 1 / 3
"""Share of a label's fine detail in the body that no output can be without: that detail is its own noise."""

FEWEST = 200  # pixels of a region

REGIONS = ("body", "lung", "boundary", "nodules")


def nearer_than_scan(output: Image, truth: Image, *, scan: Image, noisy: Image, masks: Mapping[str, Mask]) -> list[str]:
    """The regions of `masks` in which an output is nearer to the truth than another normal-dose scan of the plane is,
    and NEARER times nearer than its input, as a whole or in a part of the spectrum.

    All images are of one shape (height, width) and type, and aligned; `noisy` is what the output was made of.
    """
    own, low = distances(output, truth, masks), distances(noisy, truth, masks)
    suspects = {region: masks[region] for region in own if nearness(own[region], low[region]) < 1 / NEARER}
    normal = distances(scan, truth, suspects)
    return [region for region in suspects if nearness(own[region], bounds(normal[region], low[region])) < 1]


def distances(image: Image, truth: Image, masks: Mapping[str, Mask]) -> dict[str, tuple[float, ...]]:
    """Root mean square distances of an image from the truth, both (height, width), in each of REGIONS that
    `masks` has and that is large enough: of everything, then of the parts between `SIGMAS`."""
    found = {}
    for region in REGIONS:
        if region in masks and np.count_nonzero(masks[region]) >= FEWEST:
            mask, seen, ideal = _cut(masks[region], image, truth)
            rest = _difference(seen, ideal, mask)
            rest[~mask] = 0  # nothing else reaches into the region
            blurred = [gaussian_blur(rest, sigma) for sigma in SIGMAS]
            parts = [finer - coarser for finer, coarser in itertools.pairwise(blurred)]
            found[region] = tuple(_size(part, mask) for part in (rest, *parts))
    return found


def _cut(mask: Mask, image: Image, truth: Image) -> tuple[Mask, Image, Image]:
    """What the blurs of a region see: its box, and as much around it as they reach."""
    reach = len(gaussian_weights(max(SIGMAS))) // 2
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = tuple(slice(max(0, int(of[0]) - reach), int(of[-1]) + 1 + reach) for of in (rows, columns))
    return mask[box], image[box], truth[box]


def bounds(scan: Sequence[float], noisy: Sequence[float]) -> tuple[float, ...]:
    """The distances that no output of a noisy slice goes below, of the distances of a normal-dose scan and its own."""
    return tuple(min(normal, low / NEARER) for normal, low in zip(scan, noisy, strict=True))


def nearness(own: Sequence[float], others: Sequence[float]) -> float:
    """The least of an image's distances, each as a share of another; infinity where no other is above 0."""
    return min((one / other for one, other in zip(own, others, strict=True) if other > 0), default=np.inf)


def share_of_label(image: Image, label: Image, body: Mask) -> float:
    """How much of a label's detail between 1 and 2 pixels an image lacks in `body`, as a share of that detail.

    The detail there is mostly noise that the label has from its normal-dose slice, and that nothing in the low-dose
    slice tells. Spreads by the median leave edges out. Infinity where `body` is small or the label has no detail.
    """
    own = spread(_fine(label.astype(np.float32))[body]) if np.count_nonzero(body) >= FEWEST else 0.0
    return spread(_fine(_difference(image, label, body))[body]) / own if own > 0 else np.inf


def is_near_label(output: Image, label: Image, *, noisy: Image, body: Mask) -> bool:
    """Whether an output shows the noise of the label, which the noisy input does not; all (height, width)."""
    return share_of_label(output, label, body) < OF_LABEL and share_of_label(noisy, label, body) >= 1


def _fine(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return gaussian_blur(pixels, SIGMAS[0]) - gaussian_blur(pixels, SIGMAS[1])


def _difference(image: Image, answer: Image, inside: Mask) -> NDArray[np.float32]:
    """The answer less an image, at the gain and offset that bring it nearest inside; float32 of their shape."""
    x, y = (one[inside].astype(np.int64) for one in (image, answer))
    n, sum_x, sum_y = x.size, int(x.sum()), int(y.sum())
    variance = n * int((x * x).sum()) - sum_x**2
    gain = (n * int((x * y).sum()) - sum_x * sum_y) / variance if variance else 0.0
    offset = (sum_y - gain * sum_x) / n
    return (answer - (offset + gain * image.astype(np.float64))).astype(np.float32)


def _size(values: NDArray[np.float32], mask: Mask) -> float:
    whole = np.rint(values[mask].astype(np.float64) * 256).astype(np.int64)
    return float(np.sqrt(int((whole * whole).sum()) / whole.size) / 256)
