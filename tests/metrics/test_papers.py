"""The literature's conventions, held to each project's formula to 1e-4: written here from its definition.

On three real slices they were once compared with the projects' own programs at the commits named in `harness/metrics`:
PSNR, SSIM and RMSE differed by less than 4e-6.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import convolve, gaussian_filter
from skimage.metrics import structural_similarity

from harness import metrics
from harness.imaging.hounsfield import HU16, levels
from harness.metrics import ImageMetric, comparisons

HU = NDArray[np.float64]


def pair(seed: int = 0, size: int = 48) -> tuple[HU, HU]:
    """A slice in whole HU from air to bone, and a noisier one."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=(size, size)), 5)
    reference = np.rint(-1100 + 2600 * (smooth - smooth.min()) / np.ptp(smooth))
    return np.rint(reference + rng.normal(0, 60, reference.shape)), reference


def value_of(name: str, image: HU, reference: HU) -> float:
    """As scoring computes it: from slices of 16 bits, over `whole`, a part of them, since the papers leave none out."""
    metric = metrics.load(name)
    assert isinstance(metric, ImageMetric)
    whole = np.hypot(*np.ogrid[-24:24, -24:24]) < 20
    own, target = (levels(hu, HU16, np.uint16) for hu in (image, reference))
    (one,) = comparisons({"truth": target}, {name: metric}, {"whole": whole})
    found = one.measure(own, data_range=2224, pixel_mm=0.7, window_hu=HU16).value
    assert found is not None
    return found


def decibels(image: HU, reference: HU, data_range: float) -> float:
    return 20 * math.log10(data_range / math.sqrt(np.square(image - reference).mean()))


def ssim_of_zeros_around(image: HU, reference: HU, data_range: float) -> float:
    """Wang's formula with a Gaussian window of 11 x 11 pixels around every pixel; beyond the image there is 0."""
    distance = np.hypot(*np.ogrid[-5:6, -5:6])
    window = np.exp(-(distance**2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(of: HU) -> HU:
        return np.asarray(convolve(of, window, mode="constant"))

    x, y = mean(image), mean(reference)
    luminance = (2 * x * y + (0.01 * data_range) ** 2) / (x**2 + y**2 + (0.01 * data_range) ** 2)
    variances = mean(image**2) - x**2 + mean(reference**2) - y**2
    c2 = (0.03 * data_range) ** 2
    return float(np.mean(luminance * (2 * (mean(image * reference) - x * y) + c2) / (variances + c2)))


@pytest.mark.parametrize("seed", [0, 1])
def test_red_cnn_and_ctformer(seed: int) -> None:
    image, reference = pair(seed)
    a, b = np.clip(image, -160, 240), np.clip(reference, -160, 240)
    assert value_of("red_cnn.psnr", image, reference) == pytest.approx(decibels(a, b, 400), abs=1e-4)
    assert value_of("red_cnn.ssim", image, reference) == pytest.approx(ssim_of_zeros_around(a, b, 400), abs=1e-4)
    rmse = math.sqrt(np.square(a - b).mean())
    assert value_of("red_cnn.rmse", image, reference) == pytest.approx(rmse, abs=1e-4)


@pytest.mark.parametrize("seed", [0, 1])
def test_corediff(seed: int) -> None:
    image, reference = pair(seed)
    reference = np.maximum(reference, -700)  # no slice need fill the window: the data range is then smaller
    a, b = (255 * (np.clip(hu, -1000, 1000) + 1000) / 2000 for hu in (image, reference))
    data_range = b.max() - b.min()
    assert data_range < 255
    assert value_of("corediff.psnr", image, reference) == pytest.approx(decibels(a, b, data_range), abs=1e-4)
    assert value_of("corediff.ssim", image, reference) == pytest.approx(
        ssim_of_zeros_around(a, b, data_range), abs=1e-4
    )
    rmse = math.sqrt(np.square((a - b) * 2000 / 255).mean())
    assert value_of("corediff.rmse", image, reference) == pytest.approx(rmse, abs=1e-4)


@pytest.mark.parametrize(
    ("anatomy", "centre", "width"), [("chest", -600, 1500), ("abdomen", 50, 400), ("head", 40, 80)]
)
def test_ldct_benchmark(anatomy: str, centre: float, width: float) -> None:
    image, reference = pair()
    # DICOM PS3.3 C.11.2.1.2.1: y = ((x - (c - 0.5)) / (w - 1) + 0.5), between 0 and 1
    a, b = (np.clip((hu - (centre - 0.5)) / (width - 1) + 0.5, 0, 1) for hu in (image, reference))
    assert value_of(f"ldct_benchmark.psnr_{anatomy}", image, reference) == pytest.approx(decibels(a, b, 1), abs=1e-4)
    theirs = structural_similarity(b, a, data_range=1.0)
    assert value_of(f"ldct_benchmark.ssim_{anatomy}", image, reference) == pytest.approx(theirs, abs=1e-4)


def test_ldct_benchmarks_rmse() -> None:
    image, reference = pair()
    a, b = np.clip(image, -1024, 1900), np.clip(reference, -1024, 1900)
    assert value_of("ldct_benchmark.rmse", image, reference) == pytest.approx(
        math.sqrt(np.square(a - b).mean()), abs=1e-4
    )


def test_rddm_is_the_plain_psnr_and_ssim_of_eight_bits() -> None:
    """github.com/nachifur/RDDM, commit 50d7dc3, eval/*/evaluate_PSNR_SSIM.m: MATLAB, grey 0 to 255, Wang's windows
    that lie within the image. That project measures photographs; it says nothing of HU."""
    rng = np.random.default_rng(2)
    reference = rng.integers(0, 200, (48, 48)).astype(np.uint8)
    image = (reference + rng.integers(0, 50, reference.shape)).astype(np.uint8)
    every = np.ones(image.shape, bool)
    psnr, ssim = metrics.load("psnr"), metrics.load("ssim")
    assert isinstance(psnr, ImageMetric)
    assert isinstance(ssim, ImageMetric)
    a, b = image.astype(float), reference.astype(float)
    assert psnr.value(image, reference, every, data_range=255, pixel_mm=None) == pytest.approx(
        decibels(a, b, 255), abs=1e-4
    )
    theirs = structural_similarity(a, b, data_range=255, gaussian_weights=True, use_sample_covariance=False)
    assert ssim.value(image, reference, every, data_range=255, pixel_mm=None) == pytest.approx(theirs, abs=1e-4)


PAPERS = [name for name in metrics.names() if name.partition(".")[0] in ("red_cnn", "corediff", "ldct_benchmark")]


@pytest.mark.parametrize("name", PAPERS)
def test_equal_slices_are_perfect_and_finite(name: str) -> None:
    metric = metrics.load(name)
    assert metric.higher_is_better is not None
    _, reference = pair()
    found = value_of(name, reference, reference)
    # of the smallest data range, 79, squared error of rounding to HU: 10 log10(79^2 * 12) = 48.7 dB
    assert found == pytest.approx(0) if "rmse" in name else found == pytest.approx(1) if "ssim" in name else found > 48


def test_a_constant_reference_has_no_data_range() -> None:
    flat, mask = np.full((16, 16), 40.0), np.ones((16, 16), bool)
    for name in ("corediff.psnr", "corediff.ssim"):
        metric = metrics.load(name)
        assert isinstance(metric, ImageMetric)
        assert metric.value(flat + 1, flat, mask, data_range=2224, pixel_mm=None) is None
