"""The folder of weak denoisers as their registry, and the laws that hold for each of them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy import ndimage as ndi

from harness.base.errors import UsageError
from harness.imaging import denoise
from harness.labels.battery import BATTERY, family

NAMES = denoise.names()


def _noisy(clean: NDArray[np.float64], *, std: float, seed: int) -> NDArray[np.uint8]:
    """A clean image with noise that is correlated as reconstructed CT noise is (Gaussian, 0.7 pixels)."""
    noise = ndi.gaussian_filter(np.random.default_rng(seed).standard_normal(clean.shape), 0.7)
    grey: NDArray[np.uint8] = np.clip(np.rint(clean + noise / noise.std() * std), 0, 255).astype(np.uint8)
    return grey


def test_files_with_an_underscore_are_no_denoisers() -> None:
    assert NAMES == ("cnn", "nlm", "tv")


def test_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(UsageError, match=r"'nlmm'.*nlm") as caught:
        denoise.load("nlmm")
    assert "weak_denoiser" in caught.value.fix


def test_a_denoiser_is_imported_only_when_named() -> None:
    script = "import sys, harness.imaging.denoise as d; d.names(); sys.exit('skimage' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10)
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=8, max_side=32)))
def test_type_and_shape_are_kept_and_it_repeats(name: str, image: NDArray[np.uint8]) -> None:
    before = image.copy()
    smooth = denoise.load(name)(image)
    assert smooth.dtype == np.uint8
    assert smooth.shape == image.shape
    np.testing.assert_array_equal(denoise.load(name)(image), smooth)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=5)
@given(st.integers(0, 255))
def test_a_slice_without_noise_comes_back(name: str, grey: int) -> None:
    image = np.zeros((40, 50), np.uint8)
    image[10:30, 10:40] = grey
    np.testing.assert_array_equal(denoise.load(name)(image), image)


@pytest.mark.parametrize("name", NAMES)
def test_noise_is_cut_without_bias_and_an_edge_stays(name: str) -> None:
    clean = np.full((128, 128), 60.0)
    clean[:, 64:] += 80
    smooth = denoise.load(name)(_noisy(clean, std=8, seed=5)).astype(float)
    left, right = smooth[:, 8:56], smooth[:, 72:120]
    # at least 15 % of the noise goes, no grey level is added
    assert left.std() < 0.85 * 8
    assert left.mean() == pytest.approx(60, abs=0.6)
    assert right.mean() - left.mean() == pytest.approx(80, abs=1)
    # Not blurred. The network, which learnt from slices of a sharp kernel, lifts a step that no scanner makes by 10.
    assert 76 < smooth[:, 65].mean() - smooth[:, 62].mean() < 92


def test_the_battery_is_varied_and_each_has_a_family() -> None:
    image = _noisy(np.full((48, 64), 90.0), std=10, seed=6)
    outputs = {name: apply(image) for name, apply in BATTERY.items()}
    assert len(outputs) >= 10
    assert all(output.dtype == np.uint8 and output.shape == image.shape for output in outputs.values())
    assert len({output.tobytes() for output in outputs.values()}) == len(outputs)
    assert all(output.std() < 10 for name, output in outputs.items() if name != "noisy input")
    assert {family(name) for name in BATTERY} >= {"nlm", "tv", "cnn", "median", "gaussian"}
    assert family("submissions/median") == "median"
