"""What all image metrics share, and what RMSE, bias, PSNR, SSIM and noise are."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure, visual_information_fidelity

from harness import metrics
from harness.base.errors import ScoringError
from harness.metrics import ImageMetric, bias, noise, psnr, rmse, ssim, vif
from harness.metrics._images import once_per_slice

Grey = NDArray[np.uint8]
ALL = {name: one for name in metrics.names() if isinstance(one := metrics.load(name), ImageMetric)}


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


@pytest.mark.parametrize("metric", ALL.values(), ids=list(ALL))
def test_refuses(metric: ImageMetric) -> None:
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


@pytest.mark.parametrize("name", [name for name, one in ALL.items() if not one.in_hu])
def test_sixteen_bits_have_the_values_of_eight(name: str) -> None:
    """Nothing depends on the type of a slice, and nothing is cut off at 255."""
    metric = ALL[name]
    reference = picture(0, 128)
    mask = np.hypot(*np.ogrid[-64:64, -64:64]) < 20
    reference[np.hypot(*np.ogrid[-64:64, -64:64]) < 8] = 240
    image = noisy(reference, 6)
    expected = metric.value(image, reference, mask, data_range=255, pixel_mm=0.7)
    assert expected is not None
    wide, wide_reference = (one.astype(np.uint16) for one in (image, reference))
    assert metric.value(wide, wide_reference, mask, data_range=255, pixel_mm=0.7) == expected
    if name not in ("ssim", "vif"):  # these see how bright a slice is, too
        above = metric.value(
            wide + np.uint16(9000), wide_reference + np.uint16(9000), mask, data_range=255, pixel_mm=0.7
        )
        assert above == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("metric", [bias.METRIC, rmse.METRIC, psnr.METRIC, noise.METRIC])
def test_sees_only_its_region(metric: ImageMetric) -> None:
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


def test_ssim_is_scikit_images_where_the_window_lies_within() -> None:
    image = picture(0)
    other = noisy(image, 8)
    every = np.ones(image.shape, bool)
    value = ssim.value(other, image, every, data_range=255, pixel_mm=None)
    theirs = structural_similarity(
        other, image, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert value == pytest.approx(theirs, abs=1e-9)
    every[5:-5, 5:-5] = False  # beyond the border the two imagine other images
    assert ssim.value(other, image, every, data_range=255, pixel_mm=None) is None


def test_ssim_regions_share_a_map_but_not_a_value() -> None:
    image = picture(0)
    other = np.where(half(image), noisy(image, 20), image)
    left, right = half(image), ~half(image)
    right[:, :40] = False  # beyond the window's reach of the noisy half
    assert ssim.value(image, image, left, data_range=255, pixel_mm=None) == pytest.approx(1.0, abs=1e-6)
    assert ssim.value(other, image, right, data_range=255, pixel_mm=None) == pytest.approx(1.0, abs=1e-6)
    # a wider data range makes the same difference smaller
    narrow, wide = (ssim.value(other, image, left, data_range=size, pixel_mm=None) for size in (255, 1000))
    assert narrow is not None
    assert wide is not None
    assert narrow < 0.9
    assert narrow < wide


def test_ssim_refuses_images_smaller_than_its_window() -> None:
    tiny = np.zeros((10, 40), np.uint8)
    with pytest.raises(ScoringError, match="11 x 11"):
        ssim.value(tiny, tiny, np.ones(tiny.shape, bool), data_range=255, pixel_mm=None)


@pytest.mark.parametrize("level", [110, 160])
def test_bright_flat_and_saturated_images_are_as_precise_as_any(level: int) -> None:
    """Where the squares are largest and the variances smallest, which is a difference of the two."""
    image = np.minimum(picture(0, 96).astype(int) + level, 255).astype(np.uint8)
    other = noisy(image, 4)
    a, b = (torch.from_numpy(grey.astype(np.float64))[None, None] for grey in (other, image))
    _, similarity = structural_similarity_index_measure(a, b, sigma=1.5, data_range=255.0, return_full_image=True)
    every = np.ones(image.shape, bool)
    own = [metric.value(other, image, every, data_range=255, pixel_mm=None) for metric in (ssim, vif)]
    assert own[0] == pytest.approx(float(similarity[..., 5:-5, 5:-5].mean()), abs=1e-9)
    assert own[1] == pytest.approx(float(visual_information_fidelity(a, b)), abs=1e-9)
    assert ssim.value(image, image, every, data_range=255, pixel_mm=None) == 1


@given(seed=st.integers(0, 1000), level=st.integers(0, 255), sigma=st.sampled_from([0.0, 0.3, 1.0, 20.0]))
def test_ssim_is_never_above_1(seed: int, level: int, sigma: float) -> None:
    image = noisy(np.full((24, 24), level, np.uint8), sigma, seed)
    other = noisy(image, sigma / 2, seed + 1)
    found = ssim.value(other, image, np.ones(image.shape, bool), data_range=255, pixel_mm=None)
    assert found is not None
    assert found <= 1


def vif_of(image: Grey, reference: Grey, mask: NDArray[np.bool_] | None = None, data_range: float = 255) -> float:
    everywhere = np.ones(image.shape, bool) if mask is None else mask
    value = vif.value(image, reference, everywhere, data_range=data_range, pixel_mm=None)
    assert value is not None
    return value


@pytest.mark.parametrize("seed", range(3))
def test_vif_falls_with_blur_and_with_noise(seed: int) -> None:
    image = noisy(picture(seed, 96), 10, seed)  # of fine detail, which blur can take
    blurred = [np.rint(gaussian_filter(image.astype(float), sigma)).astype(np.uint8) for sigma in (0.5, 1, 2, 4)]
    for ladder in (blurred, [noisy(image, sigma) for sigma in (2, 5, 10, 20)]):
        values = [vif_of(one, image) for one in (image, *ladder)]
        assert values[0] == pytest.approx(1, abs=1e-6)
        assert values == sorted(values, reverse=True)
        assert 0 < values[-1] < 0.8


def test_vif_does_not_see_what_lies_outside_the_mask() -> None:
    image = picture(0, 96)
    other, mask = noisy(image, 5), half(image)
    outside = np.where(mask, other, np.uint8(200))
    assert vif_of(outside, image, mask) == vif_of(other, image, mask) > vif_of(other, image)


def test_vif_scales_with_the_data_range() -> None:
    image = picture(0, 96)
    dim, other = image // np.uint8(2), noisy(image // np.uint8(2), 4)
    assert vif_of(other * np.uint8(2), dim * np.uint8(2)) == pytest.approx(vif_of(other, dim, None, 127.5), rel=1e-4)


def test_vif_of_a_constant_reference_is_undefined_and_of_a_tiny_one_refused() -> None:
    image, flat = picture(0), np.full((64, 64), 180, np.uint8)
    everywhere = np.ones(image.shape, bool)
    assert vif.value(image, flat, everywhere, data_range=255, pixel_mm=None) is None
    flat[30, 30] += 1  # a pixel tells nothing of a slice
    assert vif.value(image, flat, everywhere, data_range=255, pixel_mm=None) is None
    assert vif_of(flat, image) == pytest.approx(0, abs=1e-3)
    assert vif_of(image[:41, :41], image[:41, :41]) == pytest.approx(1, abs=1e-6)
    with pytest.raises(ScoringError, match="41 x 41"):
        vif.value(image[:40], image[:40], everywhere[:40], data_range=255, pixel_mm=None)


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


def test_what_is_kept_for_a_slice_follows_the_content() -> None:
    computed: list[float] = []

    @once_per_slice(2)
    def total(image: Grey, factor: float) -> float:
        computed.append(factor)
        return float(image.sum()) * factor

    image = picture(0)
    assert total(image, 2) == total(image.copy(), 2) == 2 * float(image.sum())
    assert computed == [2]
    before = total(image, 1)
    image[0, 0] += 1
    assert total(image, 1) == before + 1
    assert total(image.astype(np.uint16), 1) == before + 1
    assert computed == [2, 1, 1, 1]


@pytest.mark.parametrize("name", [name for name, one in ALL.items() if not one.in_hu])
def test_values_do_not_depend_on_opencvs_threads(name: str) -> None:
    reference = picture(0, 128)
    image, mask = noisy(reference, 6), np.ones(reference.shape, bool)
    before, values = cv2.getNumThreads(), []
    try:
        for index, threads in enumerate((1, 4)):
            cv2.setNumThreads(threads)
            # another image in between, or what is kept of the first would be compared with itself
            for other in (noisy(reference, 6, seed=2 + index), noisy(picture(9, 128), 6), picture(8, 128), image):
                found = ALL[name].value(other, reference, mask, data_range=255, pixel_mm=0.7)
            values.append(found)
    finally:
        cv2.setNumThreads(before)
    assert values[0] == values[1]


def test_noise_is_the_clipped_deviation_of_the_details() -> None:
    """The counts give what the details themselves do, in the docstring's words."""
    image, mask = noisy(picture(3), 9), half(picture(3))
    x = image[mask].reshape(64, 32).astype(np.float64)
    details = ((x[:-1, :-1] - x[:-1, 1:] - x[1:, :-1] + x[1:, 1:]) / 2).ravel()
    deviation = max(float(np.median(np.abs(details))), 0.5) / 0.6744897501960817
    for _ in range(5):
        deviation = float(np.sqrt(np.mean(details[np.abs(details) <= 3 * deviation] ** 2))) / 0.9866
    assert noise.METRIC.value(image, image, mask, data_range=255, pixel_mm=None) == pytest.approx(deviation, rel=1e-12)
