"""Acceptance gates of a label set: what its labels may do to noise and to anatomy inside the lung."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.imaging.noise_level import fine_detail, spread
from harness.imaging.regions import dilate

_SURROUNDINGS = 21  # side in pixels of a square whose median ignores vessels
_VESSEL = 40.0  # grey levels above the surroundings from which on a pixel counts as vessel
_FEWEST = 200  # pixels that a mean or a spectrum needs
_FEWEST_OF_VESSELS = 30  # pixels that the vessels' mean needs

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]


class AcceptanceGate(NamedTuple):
    """What values a gate accepts, and whether computing them needs the noise-free truth."""

    low: float
    high: float
    needs_truth: bool
    meaning: str


ACCEPTANCE_GATES = {
    "noise cut": AcceptanceGate(
        0.4, 0.7, False, "share of the noise's standard deviation in vessel-free lung that is gone"
    ),
    "noise / normal dose": AcceptanceGate(
        1.0, np.inf, False, "fine noise left in the lung, over the normal-dose slice's"
    ),
    "bias": AcceptanceGate(-0.5, 0.5, True, "mean error in vessel-free lung, grey levels"),
    "vessel contrast": AcceptanceGate(0.97, 1.03, True, "vessels above the lung around them, over the truth's"),
    "structure in residual": AcceptanceGate(
        -0.05, 0.05, True, "correlation of what was taken away with the truth's detail"
    ),
    "residual NPS": AcceptanceGate(0.9, 1.1, True, "mean frequency of what was taken away, over the noise's"),
}


def gate_values(
    label: Image, *, low: Image, normal: Image, truth: Image | None, lung: Mask, normal_lung: Mask
) -> dict[str, float | None]:
    """Every gate's value for one slice; None where a gate needs a truth that is not given, or too little lung shows.

    All images are uint8 (height, width): the label, the low-dose and the normal-dose slice, and the noise-free truth
    of the low-dose one. `lung` (bool) is where the low-dose slice shows lung and the label holds its pixels, denoised;
    `normal_lung` is where the normal-dose slice shows lung, which may be another breath.

    Without truth the noise cut is that of the detail finer than 2 pixels.
    """
    values: dict[str, float | None] = dict.fromkeys(ACCEPTANCE_GATES)
    if np.count_nonzero(lung) < _FEWEST or np.count_nonzero(normal_lung) < _FEWEST:
        return values
    fine = {
        name: spread(fine_detail(image)[where])
        for name, image, where in (("label", label, lung), ("low", low, lung), ("normal", normal, normal_lung))
    }
    if fine["normal"] > 0:
        values["noise / normal dose"] = fine["label"] / fine["normal"]
    if truth is None:
        values["noise cut"] = 1 - fine["label"] / fine["low"] if fine["low"] > 0 else None
        return values

    reference = truth.astype(np.float64)
    structure = reference - np.asarray(cv2.medianBlur(truth, _SURROUNDINGS), np.float64)
    vessels = lung & (structure > _VESSEL)
    plain = lung & ~dilate(structure > 10, 2)
    error, noise, residual = label - reference, low - reference, low.astype(np.float64) - label
    if np.count_nonzero(plain) >= _FEWEST and noise[plain].std() > 0:
        values["noise cut"] = 1 - float(error[plain].std() / noise[plain].std())
        values["bias"] = float(error[plain].mean())
        if residual[plain].std() > 0:
            values["residual NPS"] = mean_frequency(residual, plain) / mean_frequency(noise, plain)
    around = dilate(vessels, 4) & plain
    if np.count_nonzero(vessels) >= _FEWEST_OF_VESSELS and around.any():
        contrasts = [image[vessels].mean() - image[around].mean() for image in (label.astype(np.float64), reference)]
        values["vessel contrast"] = float(contrasts[0] / contrasts[1])
    if residual[lung].std() > 0 and structure[lung].std() > 0:
        values["structure in residual"] = float(np.corrcoef(residual[lung], structure[lung])[0, 1])
    return values


def mean_frequency(image: NDArray[np.float64], mask: Mask) -> float:
    """Mean frequency, in cycles a pixel, of the power of an image (height, width) within a mask."""
    power = np.abs(np.fft.rfft2(np.where(mask, image - image[mask].mean(), 0.0))) ** 2
    power[:, 1 : (image.shape[1] + 1) // 2] *= 2  # the half that rfft2 leaves out
    frequency = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1]))
    return float((power * frequency).sum() / power.sum())
