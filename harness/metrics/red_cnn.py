"""PSNR, SSIM and RMSE as RED-CNN's program prints them: HU cut off at -160 and 240, data range 400.

github.com/SSinyu/RED-CNN (PyTorch), commit c5adfcb: measure.py, solver.py, and main.py's `trunc_min` and `trunc_max`.
CTformer (github.com/wdayang/CTformer, commit 3c62f58) has the same file and the same window, ResGMDiff's published
program (github.com/Jay-Kang25/ResGMDiff, commit a10631d), made from RDDM's, too. RMSE is in HU; SSIM is taken of the HU
themselves, with 0 HU beyond the image. All of the lung is -160 HU in this window: these numbers are blind to it.
"""

from __future__ import annotations

from functools import partial

from harness.metrics._papers import in_window, padded_ssim, psnr, rmse

_WINDOW = (-160.0, 240.0)
_RANGE = 400.0

METRICS = {
    "psnr": in_window(
        _WINDOW,
        partial(psnr, data_range=_RANGE),
        unit="",
        higher_is_better=True,
        implementation="PSNR as RED-CNN's and CTformer's programs, data range 400",
    ),
    "ssim": in_window(
        _WINDOW,
        partial(padded_ssim, data_range=_RANGE),
        unit="",
        higher_is_better=True,
        implementation="SSIM as RED-CNN's and CTformer's programs, data range 400, Gaussian window 11, zeros around",
    ),
    "rmse": in_window(
        _WINDOW,
        rmse,
        unit="HU",
        higher_is_better=False,
        implementation="RMSE as RED-CNN's and CTformer's programs",
    ),
}
