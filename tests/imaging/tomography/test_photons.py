"""Photons and detectors."""

from __future__ import annotations

import numpy as np
import pytest

from harness.imaging.draws import generator
from harness.imaging.tomography import bowtie, detect, mean_log_counts


@pytest.mark.parametrize("electronic", [0.0, 4.0])
def test_mean_log_counts_are_what_a_detector_reads_on_average(electronic: float) -> None:
    expected = np.array([0.5, 3.0, 12.0, 60.0, 2000.0])
    paths = np.tile(np.log(1e6 / expected), (20000, 1)).astype(np.float32)
    before = 1e6 * bowtie(len(expected), pixel_mm=1e-6)
    read = detect(paths, photons=1e6, pixel_mm=1e-6, electronic=electronic, rng=generator(4))
    logs = (np.log(before) - read).mean(axis=0)
    # a logarithm of counts spreads by 1 at most: a standard error of 0.007
    assert mean_log_counts(expected, electronic=electronic) == pytest.approx(logs, abs=0.03)


def test_mean_log_counts_approach_the_logarithm() -> None:
    """From below, by (1 + s^2/N) / (2 N), the second term of the logarithm's series."""
    expected, s = np.array([60.0, 100.0, 200.0]), 4.0
    short = np.log(expected) - mean_log_counts(expected, electronic=s)
    # 64 x 64 equal shares lack the outermost 1/128 of each tail, 3 % of a variance
    assert short == pytest.approx((1 + s**2 / expected) / (2 * expected), rel=0.1)
