"""Noise fit: scanner and dose, estimated from the noise of a data set's slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.base.errors import UsageError
from harness.base.progress import Progress, part_of
from harness.base.slices import read_image
from harness.base.structs import Strict
from harness.dataset.cases import Dataset
from harness.imaging.hounsfield import grey
from harness.imaging.noise_fit import Fit, fit_scanner, training_dose
from harness.protocol import Noise


class NoiseFit(Strict, frozen=True, kw_only=True):
    """The noise to insert into a data set's normal-dose slices, and the fits that it follows from: to its low-dose and
    to its normal-dose slices."""

    noise: Noise
    low: Fit
    normal: Fit


def fit_noise(dataset: Dataset, *, slices: int, seed: int, progress: Progress | None = None) -> NoiseFit:
    """Fit scanner and dose to `slices` of a data set's slices, evenly spaced (`harness.imaging.noise_fit`).

    UsageError where window or pixel size is unknown, or the slices do not allow a fit (too few slices, too little
    smooth tissue, no less noise at normal dose).
    """
    refuse_uncalibrated(dataset)
    chosen = [dataset.cases[index] for index in np.linspace(0, len(dataset.cases) - 1, slices).round().astype(int)]
    chosen = list(dict.fromkeys(chosen))
    assert dataset.window_hu is not None, "refuse_uncalibrated"
    fits = []
    try:
        for position, kind in enumerate(("lq", "gt")):
            fits.append(
                fit_scanner(
                    [grey(read_image(Path(getattr(case, kind))), dataset.window_hu) for case in chosen],
                    window_hu=dataset.window_hu,
                    pixel_mm=[case.pixel_mm for case in chosen if case.pixel_mm is not None],
                    seed=seed,
                    progress=part_of(progress, position, 2),
                )
            )
        scanner, dose = training_dose(*fits)
    except ValueError as error:
        raise UsageError(
            f"these slices do not allow a fit of the scanner: {error}", fix="give more or other slices"
        ) from error
    return NoiseFit(noise=Noise(dose=dose, scanner=scanner), low=fits[0], normal=fits[1])


def refuse_uncalibrated(dataset: Dataset) -> None:
    """UsageError where a data set lacks the window in HU or the pixel size in mm."""
    lacking = []
    if dataset.window_hu is None:
        lacking.append("the window in HU (data.window_hu)")
    if any(case.pixel_mm is None for case in dataset.cases):
        lacking.append("the pixel size in mm (data.pixel_mm)")
    if lacking:
        raise UsageError(
            f"corrected Add Noise needs calibrated attenuation; unknown: {' and '.join(lacking)}",
            fix="state it in the protocol",
        )
