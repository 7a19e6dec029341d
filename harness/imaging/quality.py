"""The quality line of a purified slice: how much background its mask keeps and how much lung it misses.

For published and corrected masks alike. The reference is the known truth, or else the segmentation of the normal-dose
slice, which has little noise and played no part in a published mask.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.base.structs import Strict
from harness.imaging.lungs import INSIDE, without_bright_padding
from harness.imaging.regions import Code, dilate, erode
from harness.imaging.segment import lung_left_outside, pixels_per_mm, segment

Image = NDArray[np.uint8]

BREATHING_MM = 10.0
"""Air this close to the body may be body in the other breath: it does not count as background."""
EDGE_MM = 2.0
"""The outermost part of the lung is half tissue and does not count as lung."""

# Each bound lies between good and failed slices, on the phantom and on real ones (docs/purification.md).
MOST_LEFTOVER = 0.01
"""Corrected masks leave 0.0 %, published ones that fail 9 % and more."""
MOST_LOST = 0.1
"""Large vessels and dense lung are up to 5.4 % of a lung; a leak takes most of one."""
MOST_SATURATED = 0.01
"""Labels clip no further pixels; training inputs with inserted noise clip a little of the lung."""
LEAST_LUNG = 0.005
"""A slice through an apex has 0.7 %."""


class Quality(Strict, frozen=True, kw_only=True):
    """Shares between 0 and 1."""

    mask_fraction: float
    """Share of the field of view that is in the mask."""
    leftover_background: float
    """Share of what lies outside the patient, `BREATHING_MM` away from it, that is in the mask; 0 if there is none."""
    lost_lung: float
    """Share of the normal-dose slice's lung, without its edge, that is not in the mask; 0 if there is none."""
    saturation: float
    """Share of the field of view that purification clipped at grey 0 or 255: pixels clipped inside the mask in excess
    of those that the more clipped of the two slices has there."""
    lung_fraction: float
    """Share of the patient, in the normal-dose slice, that is lung."""


def quality(
    mask: Image,
    purified: Image,
    *,
    low: Image,
    normal: Image,
    window_hu: tuple[float, float] | None,
    pixel_mm: float | None,
    regions: Image | None = None,
) -> Quality:
    """The quality of a slice purified with `mask` (255 where it weighs 1): a label or a training input.

    All images are uint8 (height, width). `regions` is the slice's region map (`harness.imaging.regions.Code`) where
    it is known; otherwise the normal-dose slice is segmented, with `window_hu` and `pixel_mm` as of `segment`.
    ValueError where shapes differ.
    """
    if not mask.shape == purified.shape == low.shape == normal.shape:
        raise ValueError(f"shapes differ: {mask.shape}, {purified.shape}, {low.shape}, {normal.shape}")
    if regions is None:
        regions = _reference(without_bright_padding(normal), window_hu, pixel_mm)
    mm = pixels_per_mm(normal, pixel_mm)
    inside = mask > 127
    seen = regions != Code.PADDING
    whole_lung = np.isin(regions, (Code.LUNG, Code.NODULE))
    patient = whole_lung | np.isin(regions, (Code.BODY, Code.GAS))
    background = seen & ~dilate(patient, BREATHING_MM * mm)
    lung = erode(whole_lung, EDGE_MM * mm)
    made, *found = (_clipped(image[inside & seen]) for image in (purified, low, normal))
    return Quality(
        mask_fraction=_share(inside, seen),
        leftover_background=_share(inside, background),
        lost_lung=_share(~inside, lung),
        saturation=max(0, made - max(found)) / max(1, int(seen.sum())),
        lung_fraction=_share(whole_lung, patient),
    )


def implausible(quality: Quality, *, background_removed: bool = True) -> list[str]:
    """What is wrong with a slice, one clause each; empty where it may be used.

    `background_removed` is False for the strategies that keep the background in the mask on purpose.
    """
    reasons = []
    if quality.lung_fraction < LEAST_LUNG:
        reasons.append(
            f"no lung found: {quality.lung_fraction:.1%} of the body (at least {LEAST_LUNG:.1%}); IPv2 purifies the "
            "lung and nothing else, leave the slice out"
        )
    bounds = [
        (quality.lost_lung, MOST_LOST, "of the lung is not in the mask"),
        (quality.saturation, MOST_SATURATED, "of the field of view is clipped at grey 0 or 255"),
    ]
    if background_removed:
        bounds.insert(0, (quality.leftover_background, MOST_LEFTOVER, "of the background is still in the mask"))
    reasons += [f"{share:.1%} {text} (at most {most:.0%})" for share, most, text in bounds if share > most]
    return reasons


def _reference(normal: Image, window_hu: tuple[float, float] | None, pixel_mm: float | None) -> Image:
    """The region map of a normal-dose slice, with lung that a gap in the chest wall left outside."""
    codes = segment(normal, window_hu=window_hu, pixel_mm=pixel_mm)
    patient = np.isin(codes, INSIDE)
    if patient.any():
        codes[lung_left_outside(normal, patient, window_hu=window_hu, pixel_mm=pixel_mm)] = Code.LUNG
    return codes


def _share(what: NDArray[np.bool_], of: NDArray[np.bool_]) -> float:
    return float(what[of].mean()) if of.any() else 0.0


def _clipped(values: Image) -> int:
    return int(((values == 0) | (values == 255)).sum())
