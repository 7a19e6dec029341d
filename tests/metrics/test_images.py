"""What all image metrics share, and what RMSE, bias, PSNR, SSIM and noise are."""

import math
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from harness.errors import ScoringError
from harness.metrics import bias, gmsd, nodule_contrast, noise, nps_frequency, psnr, rmse, ssim, vessel_contrast

Grey = NDArray[np.uint8]
ALL = [bias, gmsd, nodule_contrast, noise, nps_frequency, psnr, rmse, ssim, vessel_contrast]


def picture(seed: int, size: int = 64) -> Grey:
    smooth = gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), 6)
    scaled: Grey = (60 + 80 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)
    return scaled


def noisy(image: Grey, sigma: float, seed: int = 1) -> Grey:
    added = image + np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(np.rint(added), 0, 255).astype(np.uint8)


def half(image: Grey) -> NDArray[np.bool_]:
    mask = np.zeros(image.shape, bool)
    mask[:, : image.shape[1] // 2] = True
    return mask


@pytest.mark.parametrize("metric", ALL)
def test_refuses(metric: ModuleType) -> None:
    image = picture(0)
    with pytest.raises(ScoringError, match="one size"):
        metric.value(image, image[:-1], half(image), data_range=255, pixel_mm=None)
    with pytest.raises(ScoringError, match="one size"):
        metric.value(image, image, half(image)[:-1], data_range=255, pixel_mm=None)
    with pytest.raises(ScoringError, match="one size"):
        metric.value(
            np.stack([image] * 3, 2),
            np.stack([image] * 3, 2),
            np.ones((64, 64, 3), bool),
            data_range=255,
            pixel_mm=None,
        )
    with pytest.raises(ScoringError, match="empty"):
        metric.value(image, image, np.zeros(image.shape, bool), data_range=255, pixel_mm=None)


@pytest.mark.parametrize("metric", [bias, rmse, psnr, noise])
def test_sees_only_its_region(metric: ModuleType) -> None:
    image, mask = picture(0), half(picture(0))
    other = np.where(mask, image, noisy(image, 30))
    values = [metric.value(x, image, mask, data_range=255, pixel_mm=None) for x in (image, other)]
    assert values[0] == values[1]


def test_rmse_by_hand() -> None:
    image, reference = np.array([[3, 0], [0, 9]], np.uint8), np.array([[0, 4], [0, 200]], np.uint8)
    mask = np.array([[True, True], [True, False]])
    # sqrt((9 + 16 + 0) / 3), and no wrap-around of unsigned numbers
    assert rmse.value(image, reference, mask, data_range=255, pixel_mm=None) == pytest.approx(
        math.sqrt(25 / 3), rel=1e-15
    )


@given(seed=st.integers(0, 1000), shift=st.integers(-40, 40), flips=st.integers(0, 30))
def test_bias_is_the_signed_error_alone(seed: int, shift: int, flips: int) -> None:
    reference = picture(seed, 32)
    # whole grey levels up and down by turns: an error that cancels
    checker = np.indices(reference.shape).sum(axis=0) % 2 * 2 - 1
    image = (reference.astype(int) + shift + flips // 2 * checker).astype(np.uint8)
    mask = np.ones(reference.shape, bool)
    value = bias.value(image, reference, mask, data_range=255, pixel_mm=None)
    assert value == pytest.approx(shift, abs=1e-12)
    assert bias.value(reference, image, mask, data_range=255, pixel_mm=None) == -value
    assert abs(value) <= rmse.value(image, reference, mask, data_range=255, pixel_mm=None) + 1e-12


def test_psnr_by_hand_and_its_cap() -> None:
    image = picture(0)
    mask = np.ones(image.shape, bool)
    # MSE 4: 10 log10(255^2 / 4)
    assert psnr.value(image + np.uint8(2), image, mask, data_range=255, pixel_mm=None) == pytest.approx(
        42.1102, abs=1e-4
    )
    # equal images: 10 log10(255^2 * 12), the error of rounding
    assert psnr.value(image, image, mask, data_range=255, pixel_mm=None) == pytest.approx(58.9226, abs=1e-4)


@given(seed=st.integers(0, 1000), level=st.integers(1, 20))
def test_psnr_falls_and_rmse_rises_with_noise(seed: int, level: int) -> None:
    image = picture(seed, 32)
    mask = np.ones(image.shape, bool)
    less, more = noisy(image, level, seed), noisy(image, 2 * level, seed)
    assert rmse.value(less, image, mask, data_range=255, pixel_mm=None) < rmse.value(
        more, image, mask, data_range=255, pixel_mm=None
    )
    assert psnr.value(less, image, mask, data_range=255, pixel_mm=None) >= psnr.value(
        more, image, mask, data_range=255, pixel_mm=None
    )


def test_ssim_is_scikit_images_inside_and_torchmetrics() -> None:
    from torchmetrics.functional.image import structural_similarity_index_measure

    image = picture(0)
    other = noisy(image, 8)
    inside = np.zeros(image.shape, bool)
    inside[5:-5, 5:-5] = True  # elsewhere the two pad differently; scikit-image's mean is this one
    value = ssim.value(other, image, inside, data_range=255, pixel_mm=None)
    theirs = structural_similarity(
        other, image, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert value == pytest.approx(theirs, rel=1e-6)
    a, b = (torch.from_numpy(x.astype(np.float64))[None, None] for x in (other, image))
    _, full = structural_similarity_index_measure(a, b, sigma=1.5, data_range=255.0, return_full_image=True)
    assert value == pytest.approx(float(full[0, 0].numpy()[inside].mean()), rel=1e-4)


def test_ssim_regions_share_a_map_but_not_a_value() -> None:
    image = picture(0)
    other = np.where(half(image), noisy(image, 20), image)
    left, right = half(image), ~half(image)
    right[:, :40] = False  # beyond the window's reach of the noisy half
    assert ssim.value(image, image, left, data_range=255, pixel_mm=None) == 1.0
    assert ssim.value(other, image, right, data_range=255, pixel_mm=None) == pytest.approx(1.0, abs=1e-12)
    assert ssim.value(other, image, left, data_range=255, pixel_mm=None) < 0.9
    # a wider data range makes the same difference smaller
    assert ssim.value(other, image, left, data_range=1000, pixel_mm=None) > ssim.value(
        other, image, left, data_range=255, pixel_mm=None
    )


def test_ssim_refuses_images_smaller_than_its_window() -> None:
    tiny = np.zeros((10, 40), np.uint8)
    with pytest.raises(ScoringError, match="11 x 11"):
        ssim.value(tiny, tiny, np.ones(tiny.shape, bool), data_range=255, pixel_mm=None)


@pytest.mark.parametrize("sigma", [1.0, 2.5, 8.0, 15.0])
def test_noise_of_white_noise_over_anatomy(sigma: float) -> None:
    image = picture(3, 256)
    image[100:140, 60:200] = 200  # an edge
    mask = np.ones(image.shape, bool)
    value = noise.value(noisy(image, sigma), image, mask, data_range=255, pixel_mm=None)
    # rounding adds its own 1/12 to the variance
    assert value == pytest.approx(math.sqrt(sigma**2 + 1 / 12), rel=0.05)


def test_noise_of_none() -> None:
    flat = np.full((32, 32), 7, np.uint8)
    assert noise.value(flat, flat, np.ones(flat.shape, bool), data_range=255, pixel_mm=None) == 0.0
    line = np.zeros(flat.shape, bool)
    line[5] = True  # holds no 2 x 2 block
    assert noise.value(noisy(flat, 5), flat, line, data_range=255, pixel_mm=None) == 0.0
