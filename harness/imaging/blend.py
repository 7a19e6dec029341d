"""Purified images: one image inside a mask, usually the lung's, and another outside.

Equations of IPv1 (arXiv 2510.07492) and IPv2 (arXiv 2602.19314). A low-dose slice A, a normal-dose slice B, a mask M:

| strategy | mask | training input (target B) | test label (input A) |
|---|---|---|---|
| ipv1 | common | M B + (1 - M) (0.9 A + 0.1 B) | M A + (1 - M) B |
| rb, remove background | lungs | M B + (1 - M) A | M A + (1 - M) B |
| an, add noise | common | M N(B) + (1 - M) A | M A + (1 - M) B |
| ipv2 = rb + an, remove noise at test | lungs | M N(B) + (1 - M) A | M W(A) + (1 - M) B |
| none, of aligned pairs | M = 0 | A | B |

N adds noise (`harness.imaging.noise` as published, `harness.imaging.insertion` corrected), W is a weak denoiser.
Images are uint8 or, in HU, uint16 (height, width), all of one type; a mask is 255 M, as uint8.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.imaging.hounsfield import Image, whole_levels

Mask = NDArray[np.uint8]
StrategyName = Literal["ipv1", "rb", "an", "ipv2", "none"]


class Strategy(NamedTuple):
    """What a strategy does to the mask, to the training input and to the test label."""

    remove_background: bool = False
    add_noise: bool = False
    remove_noise: bool = False
    mixed: float = 0.0
    """Share of the normal-dose slice outside the mask of a training input."""
    purifies: bool = True
    """Whether there is a mask; without it the low-dose slice is the input and the normal-dose slice the label."""


STRATEGIES: dict[StrategyName, Strategy] = {
    "ipv1": Strategy(mixed=0.1),
    "rb": Strategy(remove_background=True),
    "an": Strategy(add_noise=True),
    "ipv2": Strategy(remove_background=True, add_noise=True, remove_noise=True),
    "none": Strategy(purifies=False),
}


def blend(mask: Mask, inside: Image, outside: Image) -> Image:
    """`M * inside + (1 - M) * outside` in float32 as published, rounded half to even."""
    if not mask.shape == inside.shape == outside.shape:
        raise ValueError(f"shapes differ: mask {mask.shape}, inside {inside.shape}, outside {outside.shape}")
    weight = mask.astype(np.float32) / np.float32(255)
    mixed = weight * inside.astype(np.float32) + (np.float32(1) - weight) * outside.astype(np.float32)
    return whole_levels(mixed, outside.dtype)


def label(strategy: StrategyName, mask: Mask, *, low: Image, normal: Image, weak: Image | None = None) -> Image:
    """The label of a low-dose slice; `weak` is W(low), needed where the strategy removes noise."""
    return blend(mask, _needed("weak", weak) if STRATEGIES[strategy].remove_noise else low, normal)


def training_input(
    strategy: StrategyName, mask: Mask, *, low: Image, normal: Image, noisy: Image | None = None
) -> Image:
    """The input of a training pair; `noisy` is N(normal), needed where the strategy adds noise."""
    recipe = STRATEGIES[strategy]
    if not recipe.mixed:
        return blend(mask, _needed("noisy", noisy) if recipe.add_noise else normal, low)
    # In float64 and in this order: float32 rounds thousands of pixels another way than the published code does.
    weight, a, b = mask / 255.0, low.astype(np.float64), normal.astype(np.float64)
    return whole_levels(weight * b + (1 - weight) * (a * (1 - recipe.mixed) + b * recipe.mixed), normal.dtype)


def _needed(name: str, image: Image | None) -> Image:
    if image is None:
        raise ValueError(f"this strategy needs the image `{name}`")
    return image
