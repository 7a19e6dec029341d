import importlib
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from harness import metrics
from harness.base.errors import UsageError
from harness.imaging.regions import REGIONS
from harness.metrics import DistributionMetric, ImageMetric, SpectralMetric, Unit, comparisons


def test_registry_is_the_folder() -> None:
    files = Path(metrics.__file__).parent.glob("[!_]*.py")
    assert list(dict.fromkeys(name.partition(".")[0] for name in metrics.names())) == sorted(
        path.stem for path in files
    )
    assert {"frechet", "kernel", "rmse", "ssim", "red_cnn.psnr"} <= set(metrics.names())
    assert "red_cnn" not in metrics.names()  # a file of several metrics is none itself


@pytest.mark.parametrize("name", metrics.names())
def test_every_metric_keeps_the_contract(name: str) -> None:
    """mypy checks a file's metrics against the typed protocols; what it cannot see is that the file has one."""
    metric = metrics.load(name)
    docs = importlib.import_module(f"harness.metrics.{name.partition('.')[0]}").__doc__
    assert docs
    assert isinstance(metric, ImageMetric | DistributionMetric)
    assert metric.higher_is_better in (True, False, None)
    assert "own code" in metric.implementation or "torchmetrics" in metric.implementation
    assert "\n" not in metric.implementation
    if isinstance(metric, ImageMetric):
        assert metric.unit in get_args(Unit)
        assert metric.regions is None or set(metric.regions) <= set(REGIONS)
        if metric.higher_is_better is None:
            assert "ideal" in docs


@pytest.mark.parametrize("name", metrics.names())
def test_every_metric_can_be_called_as_the_contract_says(name: str) -> None:
    metric, rng = metrics.load(name), np.random.default_rng(3)
    if isinstance(metric, DistributionMetric):
        x, y = rng.normal(size=(2, 12, 2))
        assert isinstance(metric.distance(x, y), float)
        if metric.extrapolated is not None:
            assert isinstance(metric.extrapolated(x, y, groups=None, rng=rng), float)
        return
    image, reference = rng.integers(0, 255, (2, 64, 64)).astype(np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[16:48, 16:48] = True
    reference[mask] = 250  # an object that stands out, where a metric looks for one
    if metric.in_hu:
        image, reference = image.astype(float), reference.astype(float)
    found = metric.value(image, reference, mask, data_range=255, pixel_mm=0.7)
    assert found is None or isinstance(found, float)
    if isinstance(metric, SpectralMetric):
        spectrum = metric.spectrum(image, reference, np.ones_like(mask), pixel_mm=0.7)
        assert spectrum is not None
        assert isinstance(metric.of_spectrum(spectrum), float)


def test_comparisons_go_through_references_metrics_and_regions_in_order() -> None:
    """The order of a record's slices.csv."""
    wanted = {name: metrics.load(name) for name in ("rmse", "vif", "nps_frequency")}
    images = {name: one for name, one in wanted.items() if isinstance(one, ImageMetric)}
    grey = np.full((64, 64), 7, np.uint8)
    masks = {"lung": np.zeros((64, 64), bool), "whole": np.ones((64, 64), bool)}
    found = list(comparisons({"label": grey, "truth": grey + np.uint8(1)}, images, masks))
    of_one = [
        ("rmse", "lung"),
        ("rmse", "whole"),
        ("vif", "whole"),
        ("nps_frequency", "lung"),
        ("nps_frequency", "whole"),
    ]
    assert [(one.reference, one.name, one.region) for one in found] == [
        (reference, *rest) for reference in ("label", "truth") for rest in of_one
    ]
    measured = [one.measure(grey, data_range=255, pixel_mm=None, window_hu=None) for one in found]
    assert [one.value for one in measured if one.value is not None] == [0, 1]  # no lung; nothing to learn of a constant
    assert all(one.spectrum is None for one in measured)


def test_a_spectral_metric_gives_its_spectrum_beside_the_value() -> None:
    metric = metrics.load("nps_frequency")
    assert isinstance(metric, SpectralMetric)
    image = np.random.default_rng(4).integers(0, 255, (64, 64)).astype(np.uint8)
    (one,) = comparisons({"label": np.zeros_like(image)}, {"NPS": metric}, {"whole": np.ones((64, 64), bool)})
    found = one.measure(image, data_range=255, pixel_mm=0.7, window_hu=None)
    assert found.spectrum is not None
    assert found.value == metric.of_spectrum(found.spectrum)
    assert found.value == metric.value(image, one.target, one.mask, data_range=255, pixel_mm=0.7)


@pytest.mark.parametrize("name", ["fid", "red_cnn", "red_cnn.nmse", "rmse.", "_images", "..errors", ""])
def test_unknown_name_lists_the_known(name: str) -> None:
    with pytest.raises(UsageError, match=r"there are: bias, corediff\.psnr,"):
        metrics.load(name)


def test_registry_imports_no_metric() -> None:
    code = "import sys, harness.metrics; sys.exit(any(m in sys.modules for m in ('torch', 'skimage', 'scipy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
