"""Classical segmentation of an axial chest CT slice: thresholds, components and openings measured in millimetres.

For pairs without known regions. It is meant for images of moderate noise (labels, denoised slices). It is known to
fail on consolidated lung, bowel gas close to the lung, and arms cut by the field of view. A lung behind a chest wall of
4 mm, or with a gap of 6 mm, is still found. docs/purification.md has its accuracy on the phantom.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from harness.imaging.portable import gaussian_blur
from harness.imaging.regions import Code, dilate, erode, field_of_view

Mask = NDArray[np.bool_]
Image = NDArray[np.float32]

FIELD_OF_VIEW_MM = 380.0
"""Assumed width of a slice of unknown pixel size: the middle of what chest protocols use (330 to 430 mm)."""
SEALED_GAPS_MM = (0.0, 3.0, 6.0, 10.0)
"""Widths of gaps in the chest wall, sealed one after the other when lung is found outside the body."""
LUNG_MM2 = 500.0
"""Smallest area outside the body that counts as lung if it looks like lung."""


def segment(
    image: NDArray[np.uint8], *, window_hu: tuple[float, float] | None, pixel_mm: float | None
) -> NDArray[np.uint8]:
    """Region map (uint8, codes of `harness.imaging.regions`) of a slice (uint8, height x width).

    `window_hu` is the HU of grey 0 and 255. Where it is None (unknown), the most common dark grey counts as -1000 HU
    and the median of the pixels above Otsu's threshold as +40 HU. `pixel_mm` is the width of a pixel. Where it is None,
    the slice counts as `FIELD_OF_VIEW_MM` wide.
    """
    hu, seen, mm = calibrated(image, window_hu, pixel_mm)
    body = _body(blur(hu, 0.9 * mm), seen, mm)
    lung, gas = _air_spaces(hu, body, mm)
    codes = np.full(image.shape, Code.AIR, np.uint8)
    codes[_objects(hu, body, seen, mm)] = Code.TABLE
    codes[body] = Code.BODY
    codes[lung] = Code.LUNG
    codes[gas] = Code.GAS
    codes[~seen] = Code.PADDING
    return codes


def find_body(
    image: NDArray[np.uint8], *, window_hu: tuple[float, float] | None, pixel_mm: float | None
) -> NDArray[np.bool_]:
    """The patient with everything inside, as `segment` finds it in twice the time: a bool mask of the slice's shape."""
    hu, seen, mm = calibrated(image, window_hu, pixel_mm)
    return _body(blur(hu, 0.9 * mm), seen, mm)


def lung_left_outside(
    image: NDArray[np.uint8], body: Mask, *, window_hu: tuple[float, float] | None, pixel_mm: float | None
) -> NDArray[np.bool_]:
    """What looks like lung outside the body that was found: the wall has a gap too wide to seal.

    Bool (height, width), as `body`. ValueError where `body` is empty.
    """
    if not body.any():
        raise ValueError("expected a body, found an empty mask")
    hu, seen, mm = calibrated(image, window_hu, pixel_mm)
    return _lung_like(blur(hu, 0.9 * mm), body, seen, mm)


def pixels_per_mm(image: NDArray[np.uint8], pixel_mm: float | None) -> float:
    """Pixels per millimetre, assuming a slice `FIELD_OF_VIEW_MM` wide where `pixel_mm` is None."""
    return image.shape[1] / FIELD_OF_VIEW_MM if pixel_mm is None else 1 / pixel_mm


def calibrated(
    image: NDArray[np.uint8], window_hu: tuple[float, float] | None, pixel_mm: float | None
) -> tuple[Image, Mask, float]:
    """A slice in HU (float32, air outside the field of view), its field of view (bool), and pixels per millimetre."""
    seen = field_of_view(image)
    hu = np.where(seen, _hounsfield(image, window_hu), np.float32(-1000))
    return hu, seen, pixels_per_mm(image, pixel_mm)


def _hounsfield(image: NDArray[np.uint8], window_hu: tuple[float, float] | None) -> Image:
    grey = image.astype(np.float32)
    if window_hu is not None:
        low, high = window_hu
        return grey * np.float32((high - low) / 255) + np.float32(low)
    threshold, _ = cv2.threshold(image, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    air = int(np.argmax(np.bincount(image[image <= threshold], minlength=1)))
    tissue = float(np.median(image[image > threshold])) if (image > threshold).any() else air + 1.0
    return (grey - air) * np.float32(1040 / (tissue - air)) - np.float32(1000)


def _body(hu: Image, seen: Mask, mm: float) -> Mask:
    """The patient with everything inside and the arms, without table and clothes."""
    tissue = (hu > -300) & seen
    parts = list(components(_open(tissue, 3 * mm)))  # separates the patient from table, clothes, tubes
    if not parts:
        return np.zeros(hu.shape, bool)
    trunk = max(parts, key=lambda part: ndi.binary_fill_holes(part).sum())
    # The opening rounds thin parts off: restore them, but not the table that the patient lies on.
    wall = _largest(dilate(trunk, 2 * mm) & tissue)
    body = wall | _enclosed(hu, wall, seen, mm)
    body = _largest(_open(body, 3 * mm))
    body |= _leaked(hu, body, tissue, seen, mm)
    lowest = np.nonzero(body)[0].max()
    for part in parts:
        arm = part & ~body
        if arm.sum() < 800 * mm**2 or np.median(hu[arm]) < -150 or not _compact(arm):
            continue
        if np.nonzero(arm)[0].mean() < lowest:  # a part that lies lower is the table
            body |= ndi.binary_fill_holes(dilate(arm, 2 * mm) & tissue)
    return body


def _enclosed(hu: Image, wall: Mask, seen: Mask, mm: float) -> Mask:
    """What the chest wall encloses, alone or together with the rim of the field of view.

    A lung that the field of view cuts touches the rim as the room's air does, but the air is darker. The foam of a
    table that a tight view cuts is no darker than a lung, but lies outside the trunk's hull.
    """
    rim = seen & ~ndi.binary_erosion(seen)
    hull = _hull(wall)
    enclosed = np.zeros(wall.shape, bool)
    for part in components(seen & ~wall):
        touches_rim = bool((part & rim).any())
        core = erode(part, 3 * mm)
        if not touches_rim or (core.any() and np.median(hu[core]) > -930 and hull[part].mean() > 0.5):
            enclosed |= part
    return enclosed


def _leaked(hu: Image, body: Mask, tissue: Mask, seen: Mask, mm: float) -> Mask:
    """Lungs, with their wall, that a thin or broken chest wall left outside the body.

    A wall thinner than 6 mm does not survive the opening, and through a gap the lung is connected to the room. Wider
    and wider gaps are sealed until a part that separates from the room is a lung.
    """
    leaked = np.zeros(body.shape, bool)
    if not _lung_like(hu, body, seen, mm).any():
        return leaked
    hull = _hull(body)
    rim = seen & ~ndi.binary_erosion(seen)
    for gap in SEALED_GAPS_MM:
        reach = gap / 2 * mm
        apart = seen & ~dilate(tissue | body, reach)
        for part in components(without_small(apart, LUNG_MM2 * mm**2)):
            core = erode(part, 3 * mm)
            if (part & (rim | leaked)).any() or not core.any() or not -930 < np.median(hu[core]) < -450:
                continue
            if _embedded(dilate(part, reach), body | leaked, hull, mm):
                lung = dilate(part, reach + 1)
                leaked |= ndi.binary_fill_holes(lung | (dilate(lung, 6 * mm) & tissue))
    return leaked & ~body


def _lung_like(hu: Image, body: Mask, seen: Mask, mm: float) -> Mask:
    """What lies outside the body and looks like lung: denser than air, lighter than tissue, large and embedded."""
    lung = np.zeros(body.shape, bool)
    core = erode(seen & ~body & (hu > -930) & (hu < -450), 3 * mm)
    for part in components(without_small(core, LUNG_MM2 * mm**2)):
        if _embedded(dilate(part, 3 * mm), body, _hull(body), mm):
            lung |= part
    return lung


def _embedded(part: Mask, body: Mask, hull: Mask, mm: float) -> bool:
    """Whether a part lies in the body's hull and a good share of its outline touches the body.

    That is so for a lung without its wall; the foam and the pads of a table lie outside the hull.
    """
    outline = dilate(part, 4 * mm) & ~dilate(part, 3 * mm)
    return bool(hull[part].mean() > 0.8 and outline.any() and body[outline].mean() > 0.3)


def _air_spaces(hu: Image, body: Mask, mm: float) -> tuple[Mask, Mask]:
    """Lung with its vessels, and gas that is not lung: trachea, main bronchi, bowel."""
    inside = erode(body, 2 * mm)
    low = (blur(hu, 0.9 * mm) < -450) & inside
    dark = blur(hu, 2 * mm)
    lung, gas = np.zeros(body.shape, bool), np.zeros(body.shape, bool)
    for part in components(low):
        area = part.sum() / mm**2
        core = part & erode(part, 2 * mm)
        median = np.median(hu[core if core.any() else part])
        if 20 < area < 3000 and median < -935:
            gas |= part
        elif area > 150:
            lung |= part
    # Airways that open into the lung: compact, as dark as air, and near the middle, where emphysema is rare.
    middle = np.nonzero(body)[1].mean() if body.any() else 0.0
    for part in components(_open(lung & (dark < -940), 3 * mm)):
        central = abs(np.nonzero(part)[1].mean() - middle) < 45 * mm
        if central and 60 < part.sum() / mm**2 < 900 and _compact(part):
            airway = dilate(part, 2 * mm) & lung
            gas |= airway
            lung &= ~airway
    lung = close(lung, 5 * mm) & erode(body, 3 * mm) & ~gas
    for hole in components(ndi.binary_fill_holes(lung | gas) & ~lung & ~gas):
        if hole.sum() < 400 * mm**2:  # a vessel; the heart between two lungs is larger
            lung |= hole
    lung = without_small(lung, 150 * mm**2)
    return lung, gas


def _objects(hu: Image, body: Mask, seen: Mask, mm: float) -> Mask:
    """Table, blankets, leads: everything denser than air outside the body, and the foam inside the table."""
    dense = (blur(hu, 1.2 * mm) > -850) & seen & ~dilate(body, 3 * mm)
    objects = dilate(without_small(dense, 15 * mm**2), 1.5 * mm)
    waist = np.nonzero(body)[0].mean() if body.any() else 0.0
    table = np.zeros(body.shape, bool)
    for part in components(objects):
        rows, columns = np.nonzero(part)
        if np.ptp(columns) > 60 * mm and rows.mean() > waist:
            table |= part
    # Foam is as dark as air; it lies between the table's shells.
    foam = np.logical_or.accumulate(table) & np.logical_or.accumulate(table[::-1])[::-1]
    return (objects | foam) & seen & ~body


# ------------------------------------------------------------------------------------------- masks and components
def blur(image: Image, sigma: float) -> Image:
    """A Gaussian blur of `sigma` pixels that continues the image's border."""
    return gaussian_blur(image, sigma, border="edge")


def _open(mask: Mask, radius: float) -> Mask:
    return dilate(erode(mask, radius), radius)


def close(mask: Mask, radius: float) -> Mask:
    """The mask with gaps of up to twice `radius` pixels filled."""
    return erode(dilate(mask, radius), radius) | mask


def components(mask: Mask) -> Iterator[Mask]:
    """The 4-connected parts of a mask, one mask each."""
    labels, count = ndi.label(mask)
    for index in range(1, count + 1):
        yield labels == index


def without_small(mask: Mask, area: float) -> Mask:
    """The mask without its 4-connected parts of less than `area` pixels."""
    labels, _ = ndi.label(mask)
    keep = np.bincount(labels.ravel()) >= area
    keep[0] = False
    kept: Mask = keep[labels]
    return kept


def _largest(mask: Mask) -> Mask:
    labels, count = ndi.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest: Mask = labels == sizes.argmax()
    return largest


def _compact(mask: Mask) -> bool:
    """Whether a part fills three quarters of its convex hull."""
    return bool(mask.sum() >= 0.75 * _hull(mask).sum())


def _hull(mask: Mask) -> Mask:
    """The convex hull of a mask that is not empty."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(contours)), 1)
    return hull > 0
