from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.base.errors import ScoringError
from harness.observer import cut_rois
from harness.observer.hotelling import (
    CHANNELS,
    auc,
    channel_outputs,
    detectability,
    exact_bounds,
    laguerre_gauss,
    squared_distance,
    squared_index,
)
from harness.observer.rois import Floats
from harness.statistics import Replicates, paired_difference, replicates
from tests.observer.images import exact_noise, gaussian

SIDE = 33


def outputs(
    seed: int, *, index: float, sites: int, repeats: int = 1, channels: int = CHANNELS
) -> tuple[Floats, Floats]:
    """Normal outputs whose d' is `index`, mixed by a matrix: (repeats, sites, channels) without and with a lesion."""
    rng = np.random.default_rng(seed)
    both = rng.standard_normal((2, repeats, sites, channels))
    both[1, ..., 0] += index
    mixed = both @ rng.standard_normal((channels, channels))
    return mixed[0], mixed[1]


def with_moments(rng: np.random.Generator, mean: Floats, covariance: Floats, count: int) -> Floats:
    """A sample of exactly this mean and covariance."""
    rows = rng.standard_normal((count, len(mean)))
    rows -= rows.mean(axis=0)
    white = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T))).T
    return np.asarray(white @ np.linalg.cholesky(covariance).T + mean)


# -------------------------------------------------------------------------------- channels
@given(width=st.floats(6, 15), channels=st.integers(1, 7))
@settings(max_examples=25)
def test_channels_are_orthonormal_where_the_square_holds_them(width: float, channels: int) -> None:
    found = laguerre_gauss(101, width=width, channels=channels)
    np.testing.assert_allclose(found.T @ found, np.eye(channels), atol=1e-6)


def test_the_first_channels_are_those_of_the_formula() -> None:
    """L_0 = 1, L_1(x) = 1 - x, L_2(x) = 1 - 2x + x^2 / 2, by hand at 3 pixels from the middle, width 10."""
    found = laguerre_gauss(SIDE, width=10).reshape(SIDE, SIDE, CHANNELS)
    x = 2 * math.pi * 9 / 100
    first = math.sqrt(2) / 10 * math.exp(-x / 2)
    for pixel in (found[16, 19], found[16, 13], found[13, 16]):
        np.testing.assert_allclose(pixel[:3], [first, first * (1 - x), first * (1 - 2 * x + x * x / 2)])


def test_channels_have_the_same_size_in_mm_whatever_the_pixels() -> None:
    """A Gaussian lesion of the first channel's own width gives the integral of both, whose square is
    (sqrt 2 / w)^2 (w^2 / 2)^2 = w^2 / 2, and nothing in the other channels."""
    diameter_mm, sizes = 4.0, [0.5, 0.8, 1.0]  # channels of 8 mm
    rois = np.stack([gaussian(61, width=8 / size) for size in sizes])
    found = channel_outputs(rois, diameter_mm=diameter_mm, pixel_mm=sizes)
    np.testing.assert_allclose(found, [[8 / math.sqrt(2), 0, 0, 0, 0]] * 3, atol=1e-5)


# -------------------------------------------------------------------------------- closed forms
def test_gaussian_signal_in_white_noise() -> None:
    """The best any observer can do in white noise of deviation 1: d'^2 is the signal's energy, A^2 h^2 / 2."""
    noise, _ = exact_noise(SIDE)
    signal = 0.2 * gaussian(SIDE, width=8)
    absent, present = (channel_outputs(rois, diameter_mm=4, pixel_mm=1) for rois in (noise, noise + signal))
    assert squared_distance(absent, present) == pytest.approx(0.2**2 * 8**2 / 2, rel=1e-5)


def test_what_the_mean_of_a_region_tells_is_not_seen() -> None:
    """Without its mean the signal's energy is A^2 (h^2 / 2 - h^4 / pixels)."""
    noise, _ = exact_noise(SIDE)
    signal = 0.2 * gaussian(SIDE, width=8)
    absent, present = (
        channel_outputs(np.concatenate([cut_rois(roi, [(16, 16)], half=16) for roi in rois]), diameter_mm=4, pixel_mm=1)
        for rois in (noise, noise + signal)
    )
    assert squared_distance(absent, present) == pytest.approx(0.2**2 * (8**2 / 2 - 8**4 / SIDE**2), rel=1e-5)


def test_gaussian_signal_in_coloured_noise() -> None:
    """White noise blurred by exp(-pi r^2 / b^2): the best index is d'^2 = sum |S|^2 / NPS = A^2 h^4 / (2 (h^2 - b^2)),
    and the best template, S / NPS, is a Gaussian of width sqrt(h^2 - 2 b^2): the first channel of that width."""
    h, b = 8.0, 3.0
    noise, _ = exact_noise(SIDE, blur=b)
    signal = 0.2 * gaussian(SIDE, width=h)
    best = 0.2**2 * h**4 / (2 * (h**2 - b**2))
    diameter = math.sqrt(h**2 - 2 * b**2) / 2
    absent, present = (channel_outputs(rois, diameter_mm=diameter, pixel_mm=1) for rois in (noise, noise + signal))
    assert squared_distance(absent, present) == pytest.approx(best, rel=1e-4)
    # five channels of another width come close, and never above
    for other in (3.0, 4.0, 5.0):
        absent, present = (channel_outputs(rois, diameter_mm=other, pixel_mm=1) for rois in (noise, noise + signal))
        assert 0.97 * best < squared_distance(absent, present) < best * (1 + 1e-5)


def test_a_textbooks_two_samples() -> None:
    """Rencher, Methods of Multivariate Analysis (2002), example 5.4.2: four tests of 32 men and 32 women,
    T^2 = 97.6015; T^2 is m n / (m + n) D^2."""
    covariance = np.array(
        [
            [7.164, 6.047, 5.693, 4.701],
            [6.047, 15.89, 8.492, 5.856],
            [5.693, 8.492, 29.36, 13.98],
            [4.701, 5.856, 13.98, 22.32],
        ]
    )
    rng = np.random.default_rng(1)
    men = with_moments(rng, np.array([15.97, 15.91, 27.19, 22.75]), covariance, 32)
    women = with_moments(rng, np.array([12.34, 13.91, 16.66, 21.94]), covariance, 32)
    assert squared_distance(women, men) * 32 * 32 / 64 == pytest.approx(97.6015, rel=1e-3)  # four digits are printed


def test_auc_of_known_indices() -> None:
    assert auc(0) == 0.5
    assert auc(1) == pytest.approx(stats.norm.cdf(1 / math.sqrt(2)))
    assert auc(1.812) == pytest.approx(0.9, abs=1e-3)  # Phi(1.2816) = 0.9


# -------------------------------------------------------------------------------- estimates and intervals
@pytest.mark.parametrize(("index", "sites"), [(1.0, 40), (1.0, 200), (2.0, 60), (0.0, 60)])
def test_the_estimate_is_unbiased(index: float, sites: int) -> None:
    absent, present = outputs(3, index=index, sites=sites, repeats=1000)
    found = [squared_index(a, p) for a, p in zip(absent, present, strict=True)]
    assert abs(np.mean(found) - index**2) < 4 * np.std(found) / math.sqrt(1000)
    plain = [squared_distance(a, p) for a, p in zip(absent, present, strict=True)]
    assert np.mean(plain) > index**2 + 4 * np.std(plain) / math.sqrt(1000)  # what resubstitution makes of it


@pytest.mark.parametrize(("index", "sites"), [(1.0, 60), (1.5, 200), (2.0, 30)])
def test_the_exact_interval_covers_as_often_as_it_says(index: float, sites: int) -> None:
    absent, present = outputs(4, index=index, sites=sites, repeats=1000)
    bounds = [exact_bounds(a, p) for a, p in zip(absent, present, strict=True)]
    covered = np.mean([low <= index <= high for low, high in bounds])
    assert 0.93 <= covered <= 0.97
    below, above = np.mean([high < index for _, high in bounds]), np.mean([low > index for low, _ in bounds])
    assert max(below, above) < 0.04  # both ends err equally often


def test_the_bounds_are_those_of_the_noncentral_f_distribution() -> None:
    """scipy.stats.ncf is another implementation than the one used; the definition is Wunderlich et al.'s."""
    (absent,), (present,) = outputs(5, index=1.2, sites=80)
    x = squared_distance(absent, present) * 80 * 80 * (160 - 6) / (5 * 158 * 160)
    low, high = exact_bounds(absent, present)
    for bound, share in ((low, 0.975), (high, 0.025)):
        assert stats.ncf.cdf(x, 5, 154, bound**2 * 80 * 80 / 160) == pytest.approx(share, abs=1e-6)


def test_bounds_end_at_zero_where_nothing_is_seen_and_hold_where_much_is() -> None:
    (absent,), (present,) = outputs(16, index=0.0, sites=100)
    assert exact_bounds(absent, present).low == 0
    mirrored = np.concatenate([absent, -absent])
    assert exact_bounds(mirrored, -mirrored) == (0, 0)  # equal means: less than chance would give
    for index in (10.0, 1000.0):
        (absent,), (present,) = outputs(7, index=index, sites=100)
        low, high = exact_bounds(absent, present)
        assert low < detectability(absent, present) < high
        assert 0.8 * index < low < index < high < 1.2 * index


# -------------------------------------------------------------------------------- laws
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([-3.0, 0.01, 1.0, 40.0]), shift=st.floats(-1e3, 1e3))
@settings(max_examples=25)
def test_no_affine_change_of_grey_levels_matters(seed: int, scale: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    images = rng.normal(100, 12, (2, 30, SIDE, SIDE))
    images[1] += 6 * gaussian(SIDE, width=8)
    plain, changed = (
        detectability(
            *(
                channel_outputs(
                    np.concatenate([cut_rois(image, [(16, 16)], half=16) for image in group]),
                    diameter_mm=3,
                    pixel_mm=0.7,
                )
                for group in both
            )
        )
        for both in (images, scale * images + shift)
    )
    assert changed == pytest.approx(plain, rel=1e-6)
    assert plain > 0


@given(seed=st.integers(0, 10_000), channels=st.integers(1, 6))
@settings(max_examples=25)
def test_no_mixture_of_channels_and_no_order_of_sites_matters(seed: int, channels: int) -> None:
    rng = np.random.default_rng(seed)
    (absent,), (present,) = outputs(seed, index=1.5, sites=40, channels=channels)
    mixture = rng.standard_normal((channels, channels)) + 3 * np.eye(channels)
    order = rng.permutation(40)
    expected = squared_index(absent, present)
    assert squared_index(absent @ mixture, present @ mixture) == pytest.approx(expected, rel=1e-6)
    assert squared_index(absent[order], present[order[::-1]]) == pytest.approx(expected, rel=1e-9)
    assert squared_index(present, absent) == pytest.approx(expected, rel=1e-9)


@given(contrast=st.floats(0.05, 5))
@settings(max_examples=25)
def test_the_index_grows_in_proportion_to_the_contrast(contrast: float) -> None:
    noise, _ = exact_noise(9)
    absent = channel_outputs(noise, diameter_mm=1.5, pixel_mm=1)
    one, more = (
        channel_outputs(noise + c * gaussian(9, width=3), diameter_mm=1.5, pixel_mm=1) for c in (1.0, contrast)
    )
    assert squared_distance(absent, more) == pytest.approx(contrast**2 * squared_distance(absent, one), rel=1e-9)


def test_a_lost_lesion_shows_in_the_paired_difference() -> None:
    """Half of the contrast lost at the same noise: the interval of the difference lies below 0, though each one's own
    interval holds both values. Nothing lost: the difference is 0 without any doubt."""
    rng = np.random.default_rng(8)
    patients = [f"p{site // 25}" for site in range(200)]
    absent, noise = rng.standard_normal((2, 200, CHANNELS))
    whole, part = noise.copy(), noise.copy()
    whole[:, 0] += 1.0
    part[:, 0] += 0.8

    def found(present: Floats) -> Replicates:
        return replicates(lambda rows: detectability(absent[rows], present[rows]), patients)

    lost = paired_difference(found(part), found(whole))
    assert lost.high is not None
    assert lost.high < 0
    assert exact_bounds(absent, part).high > detectability(absent, whole)
    none = paired_difference(found(whole), found(whole))
    assert (none.value, none.low, none.high) == (0, 0, 0)


# -------------------------------------------------------------------------------- what cannot be measured
def test_a_denoiser_that_erases_everything_shows_nothing() -> None:
    nothing = np.zeros((40, CHANNELS))
    assert detectability(nothing, nothing) == 0
    assert exact_bounds(nothing, nothing) == (0, 0)


@pytest.mark.parametrize(
    ("absent", "present", "complaint"),
    [
        (np.zeros((40, 5)), np.ones((40, 5)), "no noise is left"),
        (np.zeros((4, 5)), np.ones((4, 5)), "5 channels need 9"),
        (np.zeros((40, 5)), np.zeros((39, 5)), "same two or more sites"),
        (np.zeros((40, 5)), np.full((40, 5), np.nan), "not finite"),
    ],
)
def test_what_no_index_can_be_had_of_is_named(absent: Floats, present: Floats, complaint: str) -> None:
    with pytest.raises(ScoringError, match=complaint):
        detectability(absent, present)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
@settings(max_examples=25)
def test_rounding_changes_nothing_where_there_is_more_noise_and_bounds_the_index_where_there_is_less(
    seed: int, rounding: float
) -> None:
    (absent,), (present,) = outputs(seed, index=1.5, sites=40)
    plain = squared_distance(absent, present)
    least = np.linalg.eigvalsh((np.cov(absent.T) + np.cov(present.T)) / 2)[0]
    found = squared_distance(absent, present, rounding=rounding)
    assert found <= plain * (1 + 1e-9)
    assert found <= float(((present.mean(axis=0) - absent.mean(axis=0)) ** 2).sum()) / rounding * (1 + 1e-9)
    if rounding < least:
        assert found == pytest.approx(plain, rel=1e-6)


def test_a_difference_without_noise_is_measured_by_the_rounding() -> None:
    """1 in each of five channels: D^2 = 5 / rounding, the unbiased d'^2 = 72 / 78 D^2 - 5 * 80 / 1600."""
    absent, present = np.zeros((40, CHANNELS)), np.ones((40, CHANNELS))
    assert squared_distance(absent, present, rounding=0.5) == pytest.approx(10)
    found = detectability(absent, present, rounding=0.5)
    assert found**2 == pytest.approx(72 / 78 * 10 - 0.25)
    bounds = exact_bounds(absent, present, rounding=0.5)
    assert bounds.low < found < bounds.high


def test_channels_that_say_the_same_are_refused() -> None:
    (absent,), (present,) = outputs(9, index=1.0, sites=40)
    absent[:, 1], present[:, 1] = 2 * absent[:, 0], 2 * present[:, 0]
    with pytest.raises(ScoringError, match="do not vary enough"):
        squared_distance(absent, present)


def test_regions_are_cut_where_the_sites_are() -> None:
    image = np.arange(400.0).reshape(20, 20)
    rois = cut_rois(image, [(5, 7), (12, 3)], half=3)
    assert rois.shape == (2, 7, 7)
    np.testing.assert_allclose(rois.mean(axis=(1, 2)), 0, atol=1e-12)
    for roi, (row, column) in zip(rois, [(5, 7), (12, 3)], strict=True):
        np.testing.assert_allclose(roi, image[row - 3 : row + 4, column - 3 : column + 4] - image[row, column])
    assert cut_rois(image, [], half=3).shape == (0, 7, 7)
    for place in ((2, 10), (10, 17)):
        with pytest.raises(ScoringError, match="nearer than 3 pixels"):
            cut_rois(image, [place], half=3)
