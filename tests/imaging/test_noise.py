"""Add Noise against the published code's own images (tests/golden/README.md) and scikit-image's way of making them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import skimage.transform
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import RandomState
from numpy.typing import NDArray

from harness.base.workers import map_slices
from harness.imaging.noise import DOSE, add_noise, project

Image = NDArray[np.uint8]


def slice_of(size: int, seed: int) -> Image:
    rng = np.random.default_rng(seed)
    return rng.integers(rng.integers(0, 128), rng.integers(130, 256), (size, size), dtype=np.uint8)


def test_golden_noise_is_reproduced(golden: Callable[[str], Image], noise_seed: int) -> None:
    found = add_noise(project(golden("gt")), rng=RandomState(noise_seed))
    np.testing.assert_array_equal(found, golden("noise"))


@pytest.mark.filterwarnings("ignore:Radon transform. image must be zero")
@given(size=st.integers(2, 33), seed=st.integers(0, 99), dose=st.sampled_from([1.0, DOSE, 1e-3, 2e-5]))
@settings(max_examples=60)
def test_it_is_the_formula_on_scikit_image_at_any_size_and_dose(size: int, seed: int, dose: float) -> None:
    """The formula as written in arXiv 2602.19314; at the lowest dose many rays count nothing."""
    image = slice_of(size, seed)
    angles = np.linspace(0, 180, size, endpoint=False)
    x = (image - image.min()) / (image.max() - image.min())
    p = skimage.transform.radon(x, angles) / 500
    rng, photons = RandomState(seed), dose * 200 * 1000
    mean = photons * np.exp(-p)
    n = rng.poisson(mean) + rng.normal(0, 0.05 * np.sqrt(mean))
    q = np.array([-np.log(count / photons) if count > 0 else 0 for count in n.ravel()]).reshape(n.shape)
    y = skimage.transform.iradon(500 * q, angles, filter_name="hann")
    expected = np.trunc(255 * ((y - y.min()) / (y.max() - y.min())))
    np.testing.assert_array_equal(add_noise(project(image), rng=RandomState(seed), dose=dose), expected)


@pytest.mark.usefixtures("workers")
def test_worker_processes_make_the_same_sinograms() -> None:
    """They may use one thread only, and numba's threading layers are never touched."""
    images = [slice_of(48, seed) for seed in range(2)]
    for found, image in zip(map_slices(project, [(image,) for image in images]), images, strict=True):
        np.testing.assert_array_equal(found, project(image, threads=2))


def test_one_sinogram_serves_every_dose_and_seed() -> None:
    sinogram = project(slice_of(64, 3))
    before = sinogram.copy()
    first, again, other = (add_noise(sinogram, rng=RandomState(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5
    np.testing.assert_array_equal(sinogram, before)


@pytest.mark.parametrize("shape", [(8, 9), (9, 8), (8,), (8, 8, 3)])
def test_only_square_slices_are_taken(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="only square slices, found the shape"):
        project(np.arange(np.prod(shape), dtype=np.uint8).reshape(shape))


@pytest.mark.parametrize("grey", [0, 7, 255])
def test_a_constant_slice_is_refused(grey: int) -> None:
    with pytest.raises(ValueError, match="constant slice"):
        project(np.full((8, 8), grey, np.uint8))


@pytest.mark.parametrize("dose", [0.0, -1.0, float("nan")])
def test_a_dose_is_positive(dose: float) -> None:
    with pytest.raises(ValueError, match="dose above 0"):
        add_noise(np.zeros((4, 4)), rng=RandomState(0), dose=dose)


def test_a_dose_without_photons_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to reconstruct"):
        add_noise(np.full((16, 16), 800.0), rng=RandomState(0))
