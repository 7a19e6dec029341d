"""Remove Background, corrected: the dark parts of two slices that lie inside the patient.

The published fill starts in one corner of the image and runs through whatever is dark (`harness.imaging.masks`). A
body or a table that reaches both borders stops it, a bright corner starts it on the wrong side, the cavity of a table
is shut off from it, and through a frayed chest wall it runs into the lung. Here the patient is sought instead
(`harness.imaging.segment`): the background is what lies outside, wherever it touches the border and whether it does.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from harness.imaging.masks import dark_mask
from harness.imaging.regions import Code, dilate, erode, field_of_view
from harness.imaging.segment import blur, calibrated, find_body, lung_left_outside, pixels_per_mm, segment

Image = NDArray[np.uint8]

SMOOTHING_MM = 1.5
"""Standard deviation of the blur under which a slice at 2 % dose shows the patient's outline and no noise."""
SKIN_MM = 3.0
"""The outermost part of the body, no lung: dark where a pixel is half air."""
GAS_HU = -960.0
"""Median of gas in the bowel or the stomach; that of a lung is higher (-884 to -609 HU in what was measured)."""
DARKER_THAN_AIR_HU = -1060.0
DARKER_THAN_AIR = 0.0005
"""Share of a slice that may lie below DARKER_THAN_AIR_HU. Where the grey of air was found rightly it was 0, where
lung had been taken for air at least 0.0009 (phantom and real slices, whole and cropped: docs/purification.md)."""
INSIDE = (Code.BODY, Code.LUNG, Code.GAS)


class Unpurifiable(ValueError):
    """A slice of which no mask can be trusted; the message says why and what to do."""


class NoLung(Unpurifiable):
    """A slice that holds no lung, the organ that all purification is about."""


class LeakyWall(Unpurifiable):
    """A slice whose chest wall is open too wide to tell the lung from the room."""


class UnknownAir(Unpurifiable):
    """A slice of unknown window on which the grey of air cannot be told from that of lung."""


class CorrectedMasks(NamedTuple):
    """Masks of 0 and 255, uint8 (height, width)."""

    common: Image
    """Where the low-dose or the normal-dose slice is dark: the boolean union of their dark masks."""
    lungs: Image
    """The part of `common` inside the patient."""


def corrected_masks(
    low: Image, normal: Image, *, window_hu: tuple[float, float] | None, pixel_mm: float | None
) -> CorrectedMasks:
    """Both masks of a low-dose and a normal-dose slice (uint8, height x width), for arguments as of `segment`.

    A pixel is inside the patient if it is in both slices, which were taken in two breaths; noise decides nothing: the
    low-dose slice is smoothed, its wall is allowed to fail where the normal-dose slice has lung, and dark specks
    that neither the smoothed nor the normal-dose slice knows are dropped.
    ValueError where the shapes differ, and `Unpurifiable`: `NoLung` where the normal-dose slice shows no lung,
    `LeakyWall` where lung lies outside the chest wall, `UnknownAir` where `window_hu` is None but needed.
    """
    if low.shape != normal.shape:
        raise ValueError(f"shapes differ: low-dose slice {low.shape}, normal-dose slice {normal.shape}")
    low, normal = without_bright_padding(low), without_bright_padding(normal)
    mm = pixels_per_mm(normal, pixel_mm)
    inside, lung = _patient(normal, window_hu, pixel_mm)
    smooth = np.rint(blur(low.astype(np.float32), SMOOTHING_MM * mm)).astype(np.uint8)
    inside &= find_body(smooth, window_hu=window_hu, pixel_mm=pixel_mm) | dilate(lung, 2 * SKIN_MM * mm)
    seen = field_of_view(normal) & field_of_view(low)
    inside = erode(inside | ~seen, SKIN_MM * mm) & seen  # the field of view may cut a lung: its rim is no skin
    normal_dark = dark_mask(normal)
    common = dark_mask(low) | normal_dark
    lungs = _touching((common > 0) & inside, (normal_dark | dark_mask(smooth)) > 0)
    return CorrectedMasks(common, np.where(lungs, np.uint8(255), np.uint8(0)))


def _patient(
    normal: Image, window_hu: tuple[float, float] | None, pixel_mm: float | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where the patient is and where the lung, or `Unpurifiable`."""
    hu, seen, mm = calibrated(normal, window_hu, pixel_mm)
    below_air = (blur(hu, SMOOTHING_MM * mm)[seen] < DARKER_THAN_AIR_HU).mean()
    if window_hu is None and below_air > DARKER_THAN_AIR:
        raise UnknownAir(
            f"{below_air:.1%} of the slice are darker than what would be air: lung fills more of the field of view "
            "than the room does; give the window in HU"
        )
    codes = segment(normal, window_hu=window_hu, pixel_mm=pixel_mm)
    inside, lung = np.isin(codes, INSIDE), codes == Code.LUNG
    if inside.any():
        outside = lung_left_outside(normal, inside, window_hu=window_hu, pixel_mm=pixel_mm)
        if outside.any():
            raise LeakyWall(
                f"{outside.sum() / mm**2 / 100:.0f} cm2 of what looks like lung lie outside the chest wall: the wall "
                "has a gap too wide to seal, so that lung and room cannot be told apart; leave the slice out"
            )
    if not lung.any() or np.median(hu[lung]) < GAS_HU:
        hint = "" if window_hu else "; where lung fills the field of view, give the window in HU"
        raise NoLung(
            "IPv2 purifies a dark organ, the lung; none was found in the normal-dose slice. Leave out slices above "
            f"and below the lungs; for other organs the recipe does not hold{hint}"
        )
    return inside, lung


def without_bright_padding(image: Image) -> Image:
    """The slice with padding that is brighter than its Otsu threshold set to its darkest grey.

    Padding is flat, holds a corner of the image and is not all that is bright in it; tissue is noisy, so that 25 equal
    pixels in one piece tell them apart.
    """
    threshold, _ = cv2.threshold(image, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    clean = image
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        if image[corner] <= threshold:
            continue
        labels, _ = ndi.label(image == image[corner])
        flat = labels == labels[corner]
        if flat.sum() >= 25 and (clean[~flat] > threshold).any():
            clean = np.where(flat, image.min(), clean)
    return clean


def _touching(mask: NDArray[np.bool_], seeds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The 4-connected parts of `mask` that hold a pixel of `seeds`."""
    labels, count = ndi.label(mask)
    keep = np.zeros(count + 1, bool)
    keep[labels[mask & seeds]] = True
    kept: NDArray[np.bool_] = keep[labels]
    return kept
