"""Remove Background, corrected: the dark parts of two slices that lie inside the patient.

The published flood fill starts in one corner of the image and spreads through everything dark
(`harness.imaging.masks`). It stops at a body or table that reaches both borders, starts on the wrong side of a bright
corner, never reaches the cavity of a table, and runs into the lung through a frayed chest wall. Here the patient is
segmented instead (`harness.imaging.segment`): the background is everything outside, connected to the border or not.
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
"""The outermost part of the body, which is never lung; it is dark where a pixel is half air."""
GAS_HU = -960.0
"""A darker median means gas in the bowel or the stomach; every lung measured was brighter (-884 to -609 HU)."""
DARKER_THAN_AIR_HU = -1060.0
DARKER_THAN_AIR = 0.0005
"""Share of a slice that may lie below DARKER_THAN_AIR_HU. It was 0 where the grey of air was found correctly, and at
least 0.0009 where lung was taken for air (phantom and real slices, whole and cropped: docs/purification.md)."""
INSIDE = (Code.BODY, Code.LUNG, Code.GAS)


class Unpurifiable(ValueError):
    """A slice for which no mask can be trusted; the message says why and what to do."""


class NoLung(Unpurifiable):
    """A slice without lung, the organ that IPv2 purifies."""


class LeakyWall(Unpurifiable):
    """A slice with a gap in the chest wall so wide that the lung cannot be told from the room."""


class UnknownAir(Unpurifiable):
    """A slice of unknown window in which the grey of air cannot be told from that of lung."""


class CorrectedMasks(NamedTuple):
    """Masks of 0 and 255, uint8 (height, width)."""

    common: Image
    """Where the low-dose or the normal-dose slice is dark: the boolean union of their dark masks."""
    lungs: Image
    """The part of `common` inside the patient."""


def corrected_masks(
    low: Image, normal: Image, *, window_hu: tuple[float, float] | None, pixel_mm: float | None
) -> CorrectedMasks:
    """Both masks of a low-dose and a normal-dose slice, uint8 (height, width); arguments as those of `segment`.

    A pixel is inside the patient if both slices say so, since they were taken in two breaths. Noise must not decide:
    the low-dose slice is smoothed, its wall may fail where the normal-dose slice shows lung, and dark specks that are
    in neither the smoothed nor the normal-dose slice are dropped.
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
    inside = erode(inside | ~seen, SKIN_MM * mm) & seen  # the field of view may cut a lung: its rim is not skin
    normal_dark = dark_mask(normal)
    common = dark_mask(low) | normal_dark
    lungs = _touching((common > 0) & inside, (normal_dark | dark_mask(smooth)) > 0)
    return CorrectedMasks(common, np.where(lungs, np.uint8(255), np.uint8(0)))


def _patient(
    normal: Image, window_hu: tuple[float, float] | None, pixel_mm: float | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Bool masks of the patient and of the lung, or `Unpurifiable`."""
    hu, seen, mm = calibrated(normal, window_hu, pixel_mm)
    below_air = (blur(hu, SMOOTHING_MM * mm)[seen] < DARKER_THAN_AIR_HU).mean()
    if window_hu is None and below_air > DARKER_THAN_AIR:
        raise UnknownAir(
            f"{below_air:.1%} of the slice is darker than the grey that was taken for air: the lung fills more of the "
            "field of view than the room does; give the window in HU"
        )
    codes = segment(normal, window_hu=window_hu, pixel_mm=pixel_mm)
    inside, lung = np.isin(codes, INSIDE), codes == Code.LUNG
    if inside.any():
        outside = lung_left_outside(normal, inside, window_hu=window_hu, pixel_mm=pixel_mm)
        if outside.any():
            raise LeakyWall(
                f"{outside.sum() / mm**2 / 100:.0f} cm2 of what looks like lung lie outside the chest wall, which has "
                "a gap too wide to seal: lung and room cannot be told apart; leave the slice out"
            )
    if not lung.any() or np.median(hu[lung]) < GAS_HU:
        hint = "" if window_hu else "; if lung fills the field of view, give the window in HU"
        raise NoLung(
            "no lung found in the normal-dose slice, and IPv2 purifies nothing else: leave out slices above and below "
            f"the lungs; the recipe does not apply to other organs{hint}"
        )
    return inside, lung


def without_bright_padding(image: Image) -> Image:
    """The slice, uint8 (height, width), with padding above its Otsu threshold set to its darkest grey.

    Padding is flat, contains a corner of the image, and is not the only bright part. Tissue is noisy, so a connected
    piece of 25 equal pixels is padding.
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
    """The 4-connected parts of `mask` that contain a pixel of `seeds`."""
    labels, count = ndi.label(mask)
    keep = np.zeros(count + 1, bool)
    keep[labels[mask & seeds]] = True
    kept: NDArray[np.bool_] = keep[labels]
    return kept
