"""Purified test labels: a mask takes one image inside the lung and the normal-dose slice elsewhere.

Equations of IPv1 (arXiv 2510.07492) and IPv2 (arXiv 2602.19314), computed in float32 as published,
then rounded half to even and saturated to uint8.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.imaging.masks import common_mask, remove_background


def blend(mask: NDArray[np.uint8], inside: NDArray[np.uint8], outside: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`M * inside + (1 - M) * outside` with M = mask / 255; all uint8 of one (height, width)."""
    if not mask.shape == inside.shape == outside.shape:
        raise ValueError(f"shapes differ: mask {mask.shape}, inside {inside.shape}, outside {outside.shape}")
    weight = mask.astype(np.float32) / np.float32(255)
    mixed = weight * inside.astype(np.float32) + (np.float32(1) - weight) * outside.astype(np.float32)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def label_ipv1(low_dose: NDArray[np.uint8], normal_dose: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """IPv1 test label: the low-dose slice where either slice is dark, background included."""
    return blend(common_mask(low_dose, normal_dose), low_dose, normal_dose)


def label_rb(low_dose: NDArray[np.uint8], normal_dose: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Remove background: as IPv1, but the background stays that of the normal-dose slice."""
    return blend(remove_background(common_mask(low_dose, normal_dose)), low_dose, normal_dose)


def label_ipv2(
    low_dose: NDArray[np.uint8], normal_dose: NDArray[np.uint8], weak: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """IPv2 test label: as remove background, with the weakly denoised low-dose slice `weak` inside the lung."""
    return blend(remove_background(common_mask(low_dose, normal_dose)), weak, normal_dose)
