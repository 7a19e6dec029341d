from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.imaging import tomography
from harness.imaging.tomography import MU_WATER, bowtie, detect, fbp, hu_to_mu, mu_to_hu, radon
from harness.imaging.tomography._blocks import in_blocks

SIZE, PIXEL, VIEWS = 96, 2.5, 140


def disk(radius: float, *, x: float = 0, y: float = 0, size: int = SIZE) -> NDArray[np.float32]:
    """An anti-aliased disk of water; lengths in mm."""
    fine = 8
    grid = (np.arange(size * fine) - (size * fine - 1) / 2) * PIXEL / fine
    inside = (grid - x) ** 2 + (grid[:, None] - y) ** 2 < radius**2
    share = inside.reshape(size, fine, size, fine).mean(axis=(1, 3))
    return np.asarray(MU_WATER * share, np.float32)


@given(
    radius=st.floats(15, 60),
    away=st.floats(0, 40),
    bearing=st.floats(0, 2 * math.pi),
)
@settings(max_examples=25)
def test_line_integrals_of_a_disk_are_its_chords(radius: float, away: float, bearing: float) -> None:
    x, y = away * math.cos(bearing), away * math.sin(bearing)
    sinogram = radon(disk(radius, x=x, y=y), pixel_mm=PIXEL, views=VIEWS)
    angle = (np.arange(VIEWS) * math.pi / VIEWS)[:, None]
    channel = (np.arange(SIZE) - (SIZE - 1) / 2) * PIXEL
    offset = channel - (x * np.cos(angle) + y * np.sin(angle))
    chord = 2 * np.sqrt(np.clip(radius**2 - offset**2, 0, None))
    inner = np.abs(offset) < radius - 2 * PIXEL  # at the rim the pixels blur the chord
    np.testing.assert_allclose(sinogram[inner], MU_WATER * chord[inner], rtol=0.04)
    assert not sinogram[np.abs(offset) > radius + 2 * PIXEL].any()


def test_every_view_holds_the_whole_mass() -> None:
    image = disk(40, x=20, y=-30)
    masses = radon(image, pixel_mm=PIXEL, views=VIEWS).sum(axis=1) * PIXEL
    np.testing.assert_allclose(masses, image.sum() * PIXEL**2, rtol=0.01)


@pytest.mark.parametrize("kernel", ["ramp", "hann", "sharp"])
def test_reconstruction_recovers_a_disk_of_water(kernel: tomography.Kernel) -> None:
    sinogram = radon(disk(70, x=15, y=-10), pixel_mm=PIXEL, views=VIEWS)
    hu = mu_to_hu(fbp(sinogram, pixel_mm=PIXEL, kernel=kernel))
    grid = (np.arange(SIZE) - (SIZE - 1) / 2) * PIXEL
    away = np.hypot(grid - 15, grid[:, None] + 10)
    assert abs(hu[away < 60].mean()) < 3
    field = np.hypot(grid, grid[:, None]) < 110
    assert abs(hu[(away > 80) & field].mean() + 1000) < 3


def test_projection_and_reconstruction_are_linear() -> None:
    a, b = disk(30, x=20), disk(50, y=-15)
    together = radon(2 * a + b, pixel_mm=PIXEL, views=VIEWS)
    apart = 2 * radon(a, pixel_mm=PIXEL, views=VIEWS) + radon(b, pixel_mm=PIXEL, views=VIEWS)
    np.testing.assert_allclose(together, apart, atol=1e-5 * together.max())
    image = fbp(together, pixel_mm=PIXEL, kernel="sharp")
    np.testing.assert_allclose(image, fbp(apart, pixel_mm=PIXEL, kernel="sharp"), atol=1e-5 * image.max())


def test_the_middle_of_a_larger_field_is_the_same() -> None:
    """`size` crops: what reaches beyond the image still counts in the channels."""
    sinogram = radon(disk(100), pixel_mm=PIXEL, views=VIEWS)
    whole = fbp(sinogram, pixel_mm=PIXEL, kernel="hann")
    middle = fbp(sinogram, pixel_mm=PIXEL, kernel="hann", size=SIZE // 2)
    np.testing.assert_allclose(middle, whole[SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4], atol=1e-6)


@pytest.mark.parametrize("size", [SIZE, SIZE + 1, 2 * SIZE - 5])
def test_outside_the_circle_of_the_channels_the_image_is_zero(size: int) -> None:
    image = fbp(radon(disk(150), pixel_mm=PIXEL, views=9), pixel_mm=PIXEL, kernel="ramp", size=size)
    grid = (np.arange(size) - (size - 1) / 2) ** 2
    outside = grid + grid[:, None] > ((SIZE - 1) / 2) ** 2
    assert not image[outside].any()
    assert image[~outside].all()


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_any_number_of_threads_gives_the_same_bytes(threads: int) -> None:
    mu = np.random.default_rng(threads).random((SIZE, SIZE), dtype=np.float32)
    alone = radon(mu, pixel_mm=PIXEL, views=VIEWS, threads=1)
    shared = radon(mu, pixel_mm=PIXEL, views=VIEWS, threads=threads)
    np.testing.assert_array_equal(shared, alone)
    image = fbp(alone, pixel_mm=PIXEL, kernel="sharp", threads=1)
    np.testing.assert_array_equal(fbp(alone, pixel_mm=PIXEL, kernel="sharp", threads=threads), image)


def test_an_error_in_a_thread_is_raised() -> None:
    def fail(first: int, end: int) -> None:
        if first <= 40 < end:
            raise ZeroDivisionError

    for threads in (1, 2):
        with pytest.raises(ZeroDivisionError):
            in_blocks(fail, 100, threads=threads)


def test_no_threads_are_an_error() -> None:
    with pytest.raises(ValueError, match="found 0"):
        radon(np.zeros((4, 4), np.float32), pixel_mm=1.0, views=4, threads=0)


def test_an_empty_image_has_no_attenuation() -> None:
    assert not radon(np.zeros((SIZE, SIZE), np.float32), pixel_mm=PIXEL, views=5).any()


def test_a_filled_image_is_projected_to_its_borders() -> None:
    full = np.ones((16, 16), np.float32)
    first, half_way = radon(full, pixel_mm=1.0, views=2)
    np.testing.assert_allclose(first, 16, rtol=1e-5)
    np.testing.assert_allclose(half_way, 16, rtol=1e-5)


def test_only_square_images_are_projected() -> None:
    with pytest.raises(ValueError, match=r"\(4, 5\)"):
        radon(np.zeros((4, 5), np.float32), pixel_mm=1.0, views=4)


def test_hounsfield_units_and_attenuation_invert_each_other() -> None:
    hu = np.array([-1000, -850, 0, 40, 1200], np.float32)
    np.testing.assert_allclose(mu_to_hu(hu_to_mu(hu)), hu, atol=1e-3)
    np.testing.assert_allclose(hu_to_mu(np.array([0.0])), MU_WATER)
    assert hu_to_mu(np.array([-1024.0])) == 0


def test_counting_noise_grows_with_attenuation_and_falls_with_dose() -> None:
    rng = np.random.default_rng(1)
    line_integrals = np.full((4000, 9), 3.0, np.float32)
    spread = {}
    for photons in (1e4, 4e4):
        measured = detect(line_integrals, photons=photons, pixel_mm=1.0, electronic=0.0, rng=rng)
        assert measured.mean() == pytest.approx(3.0, abs=0.01)
        spread[photons] = measured[:, 4].std()
        # The logarithm of a Poisson count N varies by 1/sqrt(N).
        assert spread[photons] == pytest.approx(1 / math.sqrt(photons * math.exp(-3)), rel=0.06)
    assert spread[1e4] / spread[4e4] == pytest.approx(2, rel=0.08)


@given(view=st.integers(0, 11), channel=st.integers(0, 8), to=st.floats(0, 12, width=32))
@settings(max_examples=30)
def test_a_ray_that_changes_changes_no_other(view: int, channel: int, to: float) -> None:
    """Rejection sampling took more or fewer numbers for it, and all rays behind it read otherwise."""
    paths = np.linspace(0, 9, 12 * 9, dtype=np.float32).reshape(12, 9)
    other = paths.copy()
    other[view, channel] = to
    before, after = (
        detect(p, photons=2e4, pixel_mm=1.0, electronic=4.0, rng=np.random.default_rng(5)) for p in (paths, other)
    )
    same = paths == other
    np.testing.assert_array_equal(before[same], after[same])


@pytest.mark.parametrize(("path", "electronic"), [(2.0, 0.0), (3.0, 4.0), (1.0, 10.0)])
def test_readings_have_the_mean_and_variance_of_counts_and_electronics(path: float, electronic: float) -> None:
    paths = np.full((20_000, 9), path, np.float32)
    measured = detect(paths, photons=4e3, pixel_mm=1e-3, electronic=electronic, rng=np.random.default_rng(6))
    counts, expected = 4e3 * np.exp(-measured.astype(np.float64)), 4e3 * math.exp(-path)
    spread = expected + electronic**2
    assert counts.mean() == pytest.approx(expected, abs=4 * math.sqrt(spread / counts.size))
    assert counts.var() == pytest.approx(spread, rel=4 * math.sqrt(2 / counts.size))
    # One number moves neither its neighbour nor the next view's.
    for a, b in ((counts[:, 1:], counts[:, :-1]), (counts[1:], counts[:-1])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / math.sqrt(a.size)


def test_starved_rays_stay_finite() -> None:
    dark = np.full((50, 9), 20.0, np.float32)
    measured = detect(dark, photons=1e3, pixel_mm=1.0, electronic=4.0, rng=np.random.default_rng(0))
    assert np.isfinite(measured).all()


def test_the_bowtie_dims_the_periphery_evenly_on_both_sides() -> None:
    intensity = bowtie(401, pixel_mm=1.0)
    assert intensity[200] == 1
    assert (np.diff(intensity[200:371]) < 0).all()
    np.testing.assert_allclose(intensity, intensity[::-1])
    assert intensity[-1] == pytest.approx(math.exp(-1.2))
