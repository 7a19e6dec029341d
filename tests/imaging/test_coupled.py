"""Coupled bootstrap: unbiased in closed form, noise like the slice's own, the same bytes from the same key."""

from __future__ import annotations

from functools import cache

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.imaging.coupled import (
    Coupled,
    clean_paths,
    clipped_share,
    couple,
    noise_ratio,
    pooled,
    root,
    squared_error,
)
from harness.imaging.draws import generator
from harness.imaging.insertion import Scanner, line_integrals, scan_noise
from harness.imaging.regions import shrink
from harness.phantom import PhantomSlice, make_patient, scan_slice
from harness.phantom.scan import ELECTRONIC_NOISE, NORMAL_PHOTONS, WINDOW_HU
from harness.statistics import Interval, interval

Floats = NDArray[np.float64]
WIDE = (-1424.0, 1200.0)
DOSE, SIZE, SEED = 0.02, 160, 2603
SCANNER = Scanner(photons=NORMAL_PHOTONS * DOSE, electronic=ELECTRONIC_NOISE, kernel="sharp")

# -------------------------------------------------------------------------------- the law, on noise of known covariance
SIDE, DRAWS = 64, 160
GREY = (0.0, 255.0)  # one HU a grey level


def response(sigma: float) -> Floats:
    """Frequency response of a periodic Gaussian blur of so many pixels; 1 everywhere for 0."""
    f = np.fft.fftfreq(SIDE)
    gains: Floats = np.exp(-2 * (np.pi * sigma) ** 2 * (f**2 + f[:, None] ** 2))
    return gains


def filtered(image: NDArray[np.generic], gains: Floats) -> Floats:
    shown: Floats = np.fft.ifft2(np.fft.fft2(image) * gains).real
    return shown


def grey(image: Floats) -> NDArray[np.uint8]:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


@settings(max_examples=8, deadline=None)
@given(
    denoiser=st.floats(0.0, 3.0),
    colour=st.sampled_from([0.0, 0.7]),
    step=st.sampled_from([0.1, 0.2, 0.5]),
    key=st.integers(0, 10**6),
)
def test_a_linear_filters_error_in_closed_form(denoiser: float, colour: float, step: float, key: int) -> None:
    """Mean square of (H - 1) x plus (1 + a^2) tr(H S H) / n, of noise of 12 grey levels and any colour.

    Rounding to grey levels, of slice, input and output, adds a twelfth each: far below the tolerance, which is 4
    standard errors of the mean over the draws.
    """
    rng = np.random.default_rng(key)
    x = 128 + 40 * np.sign(filtered(rng.normal(size=(SIDE, SIDE)), response(5)))
    shape, gains = response(colour), response(denoiser)
    shape *= 12 / np.sqrt(np.mean(shape**2))
    bias = filtered(x, gains) - x
    expected = float(np.mean(bias**2) + (1 + step**2) * np.mean((gains * shape) ** 2))
    everywhere = np.ones((SIDE, SIDE), bool)
    found = []
    for _ in range(DRAWS):
        e, z = (filtered(rng.normal(size=(SIDE, SIDE)), shape) for _ in range(2))
        image = grey(x + e)
        made = Coupled(inputs=(grey(image + step * z), grey(image - step * z)), noise=z.astype(np.float32), step=step)
        outputs = grey(filtered(made.inputs[0], gains)), grey(filtered(made.inputs[1], gains))
        found.append(squared_error(outputs, image, made, everywhere, window_hu=GREY))
    error = float(np.std(found, ddof=1) / np.sqrt(DRAWS))
    assert np.mean(found) == pytest.approx(expected, abs=4 * error + 0.5)


def test_window_and_region_decide_unit_and_place() -> None:
    rng = np.random.default_rng(0)
    image, noise = grey(rng.normal(128, 10, (32, 32))), rng.normal(0, 10, (32, 32)).astype(np.float32)
    left = np.zeros((32, 32), bool)
    left[:, :16] = True
    made = Coupled(inputs=(image, image), noise=noise, step=0.2)
    spoilt = image.copy()
    spoilt[:, 16:] = 0
    found = [
        squared_error((output, output), image, made._replace(noise=noise * scale), left, window_hu=(0, 255 * scale))
        for scale in (1.0, 2.0)
        for output in (image, spoilt)
    ]
    assert found[0] == found[1] == pytest.approx(-float(np.mean(noise[left].astype(float) ** 2)))  # may be negative
    assert found[2] == found[3] == pytest.approx(4 * found[0])


# -------------------------------------------------------------------------------- the noise
@cache
def phantom(index: int, window_hu: tuple[float, float] = WIDE) -> PhantomSlice:
    return scan_slice(make_patient(SEED, index), 0.45, size=SIZE, dose=DOSE, window_hu=window_hu)


def coupled(scan: PhantomSlice, key: int, *, scanner: Scanner = SCANNER, calibrate: bool = False) -> Coupled:
    return couple(
        scan.lq,
        window_hu=scan.window_hu,
        pixel_mm=scan.pixel_mm,
        scanner=scanner,
        rng=generator(key),
        calibrate=calibrate,
    )


def hu(image: NDArray[np.uint8], window_hu: tuple[float, float]) -> Floats:
    return image.astype(np.float64) * ((window_hu[1] - window_hu[0]) / 255) + window_hu[0]


@pytest.mark.parametrize("region", ["lung", "body", "background"])
def test_the_noise_of_what_is_given_and_of_what_is_kept_is_uncorrelated(region: str) -> None:
    """cov(e + a z, e - z / a) = var e - var z + (a - 1/a) cov(e, z), for a of 1: as a share of var e.

    Some 2,000 pixels of noise with a correlation length of 1.5: a variance is known within 5 % a slice, 3.5 % over
    four slices for the two of them together.
    """
    shares = []
    for index in range(4):
        scan = phantom(index)
        e = hu(scan.lq, WIDE) - hu(scan.truth, WIDE)
        z = coupled(scan, index).noise.astype(np.float64)
        mask = shrink(scan.regions)[region]
        shares.append(np.cov((e + z)[mask], (e - z)[mask])[0, 1] / e[mask].var())
    assert abs(np.mean(shares)) < 0.1


def test_a_narrow_window_cuts_off_the_lungs_noise_and_says_so() -> None:
    wide, narrow = phantom(0), phantom(0, WINDOW_HU)
    lung = shrink(wide.regions)["lung"]
    assert clipped_share(wide.lq, coupled(wide, 0), lung) == 0
    assert clipped_share(narrow.lq, coupled(narrow, 0), lung) > 0.002  # 0.004; large pixels have little noise


def test_noise_is_as_likely_as_its_opposite_and_shifts_no_region() -> None:
    scan = phantom(1)
    noise = np.stack([coupled(scan, key).noise for key in range(12)]).astype(np.float64)
    for name in ("lung", "body"):
        inside = noise[:, shrink(scan.regions)[name]]
        # 12 draws of some 1,000 independent pixels: standard errors of 0.01 (mean) and 0.025 (skewness)
        assert abs(inside.mean()) < 0.04 * inside.std()
        assert abs(np.mean(inside**3)) < 0.1 * inside.std() ** 3


def test_the_inputs_are_the_slice_and_a_little_noise_more_or_less() -> None:
    scan = phantom(0)
    made = coupled(scan, 3)
    moved = made.noise * (0.2 * 255 / (WIDE[1] - WIDE[0]))
    for sign, given_ in zip((1, -1), made.inputs, strict=True):
        assert np.abs(given_ - (scan.lq + sign * moved)).max() <= 0.5 + 1e-4
    outside = shrink(scan.regions)["whole"] == 0
    outside[1:-1, 1:-1] &= False  # the corners, beyond any doubt about the circle's edge
    assert (made.noise[outside] == 0).all()


def test_starved_rays_do_not_make_the_paths_longer() -> None:
    """400 photons read a thick body too long, by 1/(2 counts) and more; averaged over scans it must be taken off."""
    starved = Scanner(photons=400, electronic=4.0, kernel="sharp")
    plenty = msgspec.structs.replace(starved, photons=1e7)  # of which nothing is taken off
    scan = phantom(0)
    truth, seen, broad = hu(scan.truth, WIDE), shrink(scan.regions)["whole"], (-3000.0, 4000.0)
    paths = line_integrals(scan.truth, window_hu=WIDE, pixel_mm=scan.pixel_mm)
    free_of_noise = clean_paths(scan.truth, window_hu=WIDE, pixel_mm=scan.pixel_mm, scanner=plenty)
    excess = []
    for key in range(4):
        e = scan_noise(paths, shape=truth.shape, pixel_mm=scan.pixel_mm, scanner=starved, rng=generator(9, key))
        noisy = np.where(seen, grey((truth + e - broad[0]) * (255 / (broad[1] - broad[0]))), np.uint8(0))
        excess.append(
            [
                clean_paths(noisy, window_hu=broad, pixel_mm=scan.pixel_mm, scanner=scanner) - free_of_noise
                for scanner in (plenty, starved)
            ]
        )
    left_alone, taken_off = np.mean(excess, axis=0)[:, (paths > 3) & (paths < 4)].mean(axis=1)
    assert left_alone > 0.1
    assert abs(taken_off) < 0.025


# -------------------------------------------------------------------------------- calibration
@pytest.mark.parametrize("photons", [0.5, 1.0, 3.0])
def test_calibrated_noise_has_the_slices_strength_whatever_the_scanners_photons(photons: float) -> None:
    """In two lungs and a body without detail; structure as fine as the noise would count as noise."""
    image, window, mm = chest(), (-1624.0, 1200.0), 1.5
    e = scan_noise(
        line_integrals(image, window_hu=window, pixel_mm=mm),
        shape=image.shape,
        pixel_mm=mm,
        scanner=SCANNER,
        rng=generator(1),
    )
    noisy = grey(image + e * (255 / (window[1] - window[0])))
    wrong = msgspec.structs.replace(SCANNER, photons=SCANNER.photons * photons)
    rough, fitted = (
        couple(noisy, window_hu=window, pixel_mm=mm, scanner=wrong, rng=generator(2), calibrate=calibrate).noise
        for calibrate in (False, True)
    )
    middle = np.s_[60:-60, 60:-60]
    assert fitted[middle].std() == pytest.approx(e[middle].std(), rel=0.04)
    ratio = noise_ratio(noisy, rough, window_hu=window)
    assert ratio == pytest.approx(np.sqrt(1 / photons) ** -1, rel=0.12)  # electronic noise does not follow the photons
    assert fitted == pytest.approx(ratio * rough, rel=1e-5)


def chest() -> NDArray[np.uint8]:
    """Two lungs in a body in air, through a window of -1624 to 1200 HU: no noise is clipped."""
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    body = (x / 0.85) ** 2 + (y / 0.6) ** 2 < 1
    lungs = ((np.abs(x) - 0.38) / 0.25) ** 2 + (y / 0.4) ** 2 < 1
    return grey((np.where(lungs, -850.0, np.where(body, 40.0, -1000.0)) + 1624) * (255 / 2824))


# -------------------------------------------------------------------------------- the same bytes
def test_the_key_alone_decides_every_byte() -> None:
    scan = phantom(0)
    first, again, other = coupled(scan, 1), coupled(scan, 1), coupled(scan, 2)
    assert all(one.tobytes() == two.tobytes() for one, two in zip(first.inputs, again.inputs, strict=True))
    assert first.noise.tobytes() == again.noise.tobytes()
    assert (first.inputs[0] != other.inputs[0]).mean() > 0.5


# -------------------------------------------------------------------------------- pooling
def test_errors_below_0_read_as_0_but_still_rank() -> None:
    of = pooled([-4.0, 2.0, -4.0, 2.0], ["a", "a", "b", "b"])
    assert of.value == -1.0
    assert of.without == {"a": -1.0, "b": -1.0}
    assert root(interval(of)) == Interval(value=0.0, low=0.0, high=0.0, n=4)
    assert root(Interval(value=9.0, low=-1.0, high=None, n=3)) == Interval(value=3.0, low=0.0, high=None, n=3)


# -------------------------------------------------------------------------------- errors
def test_what_does_not_fit_is_refused() -> None:
    scan = phantom(0)
    given_ = {"window_hu": WIDE, "pixel_mm": 1.0, "scanner": SCANNER, "rng": generator(0), "calibrate": False}
    for change, message in (
        ({"step": 0.0}, "step above 0"),
        ({"step": 1.5}, "step above 0"),
        ({"window_hu": (100.0, 100.0)}, "window from low to high"),
    ):
        with pytest.raises(ValueError, match=message):
            couple(scan.lq, **(given_ | change))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="slice of 8 or 16 bits, found float64"):
        couple(scan.lq.astype(float), **given_)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="calm pixels that are not clipped, found 0"):
        noise_ratio(np.zeros((SIZE, SIZE), np.uint8), np.ones((SIZE, SIZE), np.float32), window_hu=WIDE)
    with pytest.raises(ValueError, match="drawn noise is 0"):
        noise_ratio(scan.lq, np.zeros((SIZE, SIZE), np.float32), window_hu=WIDE)
    made = Coupled(inputs=(scan.lq, scan.lq), noise=np.zeros((SIZE, SIZE), np.float32), step=0.2)
    with pytest.raises(ValueError, match="differ in shape"):
        squared_error((scan.lq, scan.lq[1:]), scan.lq, made, scan.lq > 0, window_hu=WIDE)
    with pytest.raises(ValueError, match="region is empty"):
        squared_error(made.inputs, scan.lq, made, scan.lq < 0, window_hu=WIDE)
