"""PSNR, SSIM and RMSE as CoreDiff's program prints them: HU cut off at -1000 and 1000.

github.com/qgao21/CoreDiff, commit 6f11ecc: utils/measure.py, `transfer_calculate_window` of models/basic_template.py
and `test` of models/corediff/corediff.py. The window is mapped to 0..255, which changes neither PSNR nor SSIM; RMSE is
mapped back to HU. The data range is what the reference has in this window, its maximum minus its minimum: another in
every slice. Beyond the image SSIM sees -1000 HU.
"""

from __future__ import annotations

import numpy as np

from harness.metrics import _papers
from harness.metrics._metric import HU

_WINDOW = (-1000.0, 1000.0)


def psnr(image: HU, reference: HU) -> float | None:
    """PSNR in dB of slices in HU, cut off; None for a constant reference."""
    data_range = float(np.ptp(reference))
    return _papers.psnr(image, reference, data_range) if data_range else None


def ssim(image: HU, reference: HU) -> float | None:
    """SSIM of slices in HU, cut off; None for a constant reference."""
    data_range = float(np.ptp(reference))
    return _papers.padded_ssim(image - _WINDOW[0], reference - _WINDOW[0], data_range) if data_range else None


METRICS = {
    "psnr": _papers.in_window(
        _WINDOW,
        psnr,
        unit="",
        higher_is_better=True,
        implementation="PSNR as CoreDiff's program, the reference's data range",
    ),
    "ssim": _papers.in_window(
        _WINDOW,
        ssim,
        unit="",
        higher_is_better=True,
        implementation="SSIM as CoreDiff's program, the reference's data range, Gaussian window 11, -1000 HU around",
    ),
    "rmse": _papers.in_window(
        _WINDOW, _papers.rmse, unit="HU", higher_is_better=False, implementation="RMSE as CoreDiff's program"
    ),
}
