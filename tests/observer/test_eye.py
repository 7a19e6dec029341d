from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gamma

from harness.base.errors import ScoringError
from harness.observer.eye import INTERNAL_NOISE, PEAK, Reading, detectability, eye_filter, eye_outputs
from harness.observer.rois import Floats
from harness.statistics import Replicates, paired_difference, replicates
from tests.observer.images import exact_noise, gaussian

SIDE = 33


def index(
    absent: Floats, present: Floats, patients: list[str], *, width: float, internal_noise: float = INTERNAL_NOISE
) -> float:
    """d' of regions with pixels of 1 mm, by channels of a width in pixels."""
    without, seen = (eye_outputs(rois, diameter_mm=width / 2, pixel_mm=1) for rois in (absent, present))
    return detectability(without, seen, patients, internal_noise=internal_noise)


def index_in_the_plane(*, contrast: float, h: float, b: float, reading: Reading) -> float:
    """d' of the observer for A exp(-pi r^2 / h^2) in white noise blurred by exp(-pi r^2 / b^2), without internal noise.

    d' = int E^2 |S|^2 / sqrt(int E^4 |S|^2 NPS), S = A h^2 exp(-pi h^2 f^2), NPS = exp(-2 pi b^2 f^2) and E^2 = f^2.6
    exp(-2 c f^2): with int 2 pi f f^q exp(-s f^2) df = pi Gamma(q / 2 + 1) / s^(q / 2 + 1). What scales E cancels.
    """
    c = 1.3 / (2 * PEAK**2) * reading.pixels_per_degree**2  # for f in cycles per pixel
    up = math.pi * gamma(2.3) / (2 * c + 2 * math.pi * h**2) ** 2.3
    down = math.pi * gamma(3.6) / (4 * c + 2 * math.pi * (h**2 + b**2)) ** 3.6
    return float(contrast * h**2 * up / math.sqrt(down))


# -------------------------------------------------------------------------------- closed forms
@pytest.mark.parametrize("b", [0.0, 2.0, 4.0])
@pytest.mark.parametrize("h", [5.0, 8.0])
def test_gaussian_signal_in_white_and_in_coloured_noise(h: float, b: float) -> None:
    noise, patients = exact_noise(SIDE, blur=b)
    expected = index_in_the_plane(contrast=0.3, h=h, b=b, reading=Reading())
    present = noise + 0.3 * gaussian(SIDE, width=h)
    assert index(noise, present, patients, width=h, internal_noise=0) == pytest.approx(expected, rel=0.01)
    # channels of another width fit the lesion nearly as well
    assert index(noise, present, patients, width=1.3 * h, internal_noise=0) == pytest.approx(expected, rel=0.03)


def test_internal_noise_takes_its_share() -> None:
    noise, patients = exact_noise(17)
    present = noise + 0.5 * gaussian(17, width=5)
    without, some = (index(noise, present, patients, width=5, internal_noise=share) for share in (0.0, 0.75))
    assert some == pytest.approx(without / 1.25)  # sqrt(1 + 0.75^2) = 1.25


def test_patients_with_other_pixels_see_the_same_lesion() -> None:
    """Outputs are integrals over mm: of a lesion of one size in mm they hardly depend on the pixels. The eye looks at
    pixels, so only the fit is compared."""
    sizes = [0.6, 0.8, 1.0]
    rois = np.stack([gaussian(61, width=8 / size) for size in sizes])
    fits = eye_outputs(rois - rois.mean(axis=(1, 2), keepdims=True), diameter_mm=4, pixel_mm=sizes)[:, 0]
    np.testing.assert_allclose(fits, [[8 / math.sqrt(2), 0, 0, 0, 0]] * 3, atol=1e-6)


def test_the_eye_is_most_sensitive_at_its_peak_and_blind_to_the_mean() -> None:
    reading = Reading(pixel_mm=0.5, distance_mm=500)
    found = eye_filter(64, reading)
    per_degree = np.fft.fftfreq(64) * math.tan(math.radians(1)) * 500 / 0.5
    assert found[0, 0] == 0
    assert abs(abs(per_degree[np.argmax(found[0])]) - PEAK) < per_degree[1]
    assert found.max() == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(found, found.T)
    # f^1.3 exp(-c f^2) by hand, relative to the peak's value
    c = 1.3 / (2 * PEAK**2)
    expected = (per_degree[3] / PEAK) ** 1.3 * math.exp(-c * (per_degree[3] ** 2 - PEAK**2))
    assert found[0, 3] == pytest.approx(expected)


# -------------------------------------------------------------------------------- estimates
def sampled(seed: int, *, contrast: float, sites: int, side: int = 17) -> tuple[Floats, Floats, list[str]]:
    rng = np.random.default_rng(seed)
    absent, present = rng.standard_normal((2, sites, side, side))
    return absent, present + contrast * gaussian(side, width=5), [f"p{site * 8 // sites}" for site in range(sites)]


@pytest.mark.parametrize("contrast", [0.0, 0.8])
def test_the_templates_own_noise_flatters_nothing(contrast: float) -> None:
    """The mean over 150 samples of 160 sites lies at or a little below what the true template gives. A template from
    the very regions it is applied to reads too much: about +0.2 where there is no lesion at all."""
    noise, names = exact_noise(17)
    true = index(noise, noise + contrast * gaussian(17, width=5), names, width=5, internal_noise=0) if contrast else 0
    found = [index(*sampled(seed, contrast=contrast, sites=160), width=5, internal_noise=0) for seed in range(150)]
    doubt = 4 * np.std(found) / math.sqrt(150)
    assert 0.95 * true - 0.1 < np.mean(found) < true + doubt


def test_a_lost_lesion_shows_in_the_paired_difference() -> None:
    absent, present, patients = sampled(1, contrast=0.6, sites=200)
    names = np.array(patients)
    less = present - 0.2 * gaussian(17, width=5)
    without, whole, part = (eye_outputs(rois, diameter_mm=2.5, pixel_mm=1) for rois in (absent, present, less))

    def found(seen: Floats) -> Replicates:
        return replicates(lambda rows: detectability(without[rows], seen[rows], names[rows].tolist()), patients)

    lost = paired_difference(found(part), found(whole))
    assert lost.high is not None
    assert lost.high < 0


# -------------------------------------------------------------------------------- laws
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([-3.0, 0.01, 1.0, 40.0]), shift=st.floats(-1e3, 1e3))
@settings(max_examples=20)
def test_no_affine_change_of_grey_levels_and_no_order_of_sites_matters(seed: int, scale: float, shift: float) -> None:
    absent, present, patients = sampled(seed, contrast=0.6, sites=40)
    expected = index(absent, present, patients, width=5)
    changed = index(scale * absent + shift, scale * present + shift, patients, width=5)
    assert changed == pytest.approx(expected, rel=1e-6)
    order = np.random.default_rng(seed).permutation(40)
    shuffled = index(absent[order], present[order], [patients[site] for site in order], width=5)
    assert shuffled == pytest.approx(expected, rel=1e-9)


@given(contrast=st.floats(0.05, 5))
@settings(max_examples=20)
def test_the_index_grows_in_proportion_to_the_contrast(contrast: float) -> None:
    noise, patients = exact_noise(9)
    one, more = (index(noise, noise + c * gaussian(9, width=3), patients, width=3) for c in (1.0, contrast))
    assert more == pytest.approx(contrast * one, rel=1e-9)


def test_less_noise_is_a_gain_that_the_hotelling_observer_does_not_see() -> None:
    """A blur of noise and lesion together loses nothing that a linear observer cannot undo; this one does gain."""
    sharp, patients = exact_noise(SIDE)
    blurred, _ = exact_noise(SIDE, blur=4.0)
    before = index(sharp, sharp + 0.3 * gaussian(SIDE, width=3), patients, width=3)
    # a Gaussian of width 3 blurred by one of width 4 has the width 5, and its integral stays
    after = index(blurred, blurred + 0.3 * (3 / 5) ** 2 * gaussian(SIDE, width=5), patients, width=5)
    assert after > 1.05 * before


# -------------------------------------------------------------------------------- what cannot be measured
def test_a_denoiser_that_erases_everything_shows_nothing() -> None:
    nothing = np.zeros((8, 9, 9))
    assert index(nothing, nothing, list("aabbccdd"), width=3) == 0


def test_what_no_index_can_be_had_of_is_named() -> None:
    nothing, patients = np.zeros((8, 2, 5)), list("aabbccdd")
    with pytest.raises(ScoringError, match="other patients"):
        detectability(nothing, nothing, ["a"] * 8)
    with pytest.raises(ScoringError, match="no noise is left"):
        detectability(nothing, nothing + 1, patients)
    with pytest.raises(ScoringError, match="same two or more sites"):
        detectability(nothing, nothing[:7], patients)


def test_lesions_without_noise_are_measured_by_the_rounding() -> None:
    """Every region shows the same: template 1 in each of 5 channels, decisions apart by 5, rounding's share 5."""
    nothing, patients = np.zeros((8, 2, 5)), list("aabbccdd")
    found = detectability(nothing, nothing + 1, patients, internal_noise=0.0, rounding=0.2)
    assert found == pytest.approx(5 / np.sqrt(0.2 * 5))
    assert detectability(nothing, nothing, patients, rounding=0.2) == 0
    rng = np.random.default_rng(1)
    noisy = rng.standard_normal((2, 8, 2, 5))
    assert detectability(noisy[0], noisy[1], patients, rounding=1e-9) == detectability(noisy[0], noisy[1], patients)
