"""PSNR, SSIM and RMSE as LDCT-Benchmark's test program prints them (Eulig et al., Med Phys 51 (2024)).

github.com/eeulig/ldct-benchmark, commit 09b1011: `compute_metric` and `CW` of ldctbench/evaluate/utils.py,
`apply_center_width` of ldctbench/utils/auxiliaries.py. PSNR and SSIM are taken in the window of the anatomy: centre
-600, width 1500 HU for the chest, 50 and 400 for the abdomen, 40 and 80 for the head, with DICOM's rule, by which a
width of w spans w - 1 HU from half a HU below. The window is mapped to 0..1. SSIM is scikit-image's default: uniform
windows of 7 pixels that lie within the image, sample covariances. RMSE is in HU, cut off at -1024 and 1900.
The losses that the program logs while it trains are others (data range 2924).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from harness.imaging.hounsfield import Window
from harness.metrics._images import Moments, moments, seen, similarity
from harness.metrics._metric import HU
from harness.metrics._papers import in_window, psnr, rmse

_SIDE = 7  # pixels of SSIM's window
_CENTRE_WIDTH = {"chest": (-600, 1500), "abdomen": (50, 400), "head": (40, 80)}


def _window(centre: int, width: int) -> Window:
    """DICOM's linear window, PS3.3 C.11.2.1.2.1, in HU."""
    return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2


def ssim(image: HU, reference: HU, window: Window) -> float:
    """scikit-image's default SSIM of slices in HU, cut off at the window that is its data range."""
    found = moments(*(seen(one - window[0], np.full(_SIDE, 1 / _SIDE)) for one in (image, reference)))
    sample = _SIDE**2 / (_SIDE**2 - 1)
    found = Moments(found.mean, found.reference_mean, *(sample * second for second in found[2:]))
    return float(similarity(found, window[1] - window[0]).mean())


METRICS = {
    "rmse": in_window(
        (-1024.0, 1900.0),
        rmse,
        unit="HU",
        higher_is_better=False,
        implementation="RMSE as LDCT-Benchmark's test program",
    )
}
for _anatomy, (_centre, _width) in _CENTRE_WIDTH.items():
    METRICS[f"psnr_{_anatomy}"] = in_window(
        _window(_centre, _width),
        partial(psnr, data_range=_width - 1.0),
        unit="",
        higher_is_better=True,
        implementation=f"PSNR as LDCT-Benchmark's test program, {_anatomy}, data range {_width - 1}",
    )
    METRICS[f"ssim_{_anatomy}"] = in_window(
        _window(_centre, _width),
        partial(ssim, window=_window(_centre, _width)),
        unit="",
        higher_is_better=True,
        smallest=_SIDE,
        implementation=f"SSIM as LDCT-Benchmark's test program, {_anatomy}, data range {_width - 1}, uniform window 7",
    )
