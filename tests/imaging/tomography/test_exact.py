"""scikit-image is the reference: every number below is its own, taken while the test runs."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.transform
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.imaging.tomography import exact

Array = NDArray[np.float64]

pytestmark = pytest.mark.filterwarnings("ignore:Radon transform. image must be zero")


@st.composite
def images(draw: st.DrawFn) -> Array:
    """Square images, odd and even, filled or nearly empty, with values of either sign, in a block or everywhere."""
    size = draw(st.integers(2, 40))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    image = rng.random((size, size)) - draw(st.sampled_from([0.0, 0.5]))
    image *= rng.random((size, size)) <= draw(st.sampled_from([1.0, 0.1]))
    top, left = draw(st.integers(0, size - 1)), draw(st.integers(0, size - 1))
    if draw(st.booleans()):
        image[:top] = 0
        image[:, :left] = 0
    return image


angles = st.one_of(
    st.integers(1, 40).map(lambda count: np.linspace(0, 180, count, endpoint=False)),
    st.lists(st.floats(-720, 720), min_size=1, max_size=6).map(np.array),
    st.just(np.array([0.0, 45.0, 90.0, 135.0, 180.0, 270.0, 1e-14, 90 + 1e-13])),
)


@given(images(), angles, st.sampled_from([1, 3]))
@settings(max_examples=150)
def test_projection_is_scikit_images_bit_for_bit(image: Array, theta: Array, threads: int) -> None:
    found = exact.radon(image, theta, threads=threads)
    assert found.tobytes() == skimage.transform.radon(image, theta).tobytes()


@given(images(), angles, st.sampled_from([1, 3]), st.sampled_from(["ramp", "shepp-logan", "cosine", "hamming", "hann"]))
@settings(max_examples=150)
def test_reconstruction_is_scikit_images(image: Array, theta: Array, threads: int, name: exact.Filter) -> None:
    sinogram = np.resize(image, (len(image), len(theta)))
    expected = skimage.transform.iradon(sinogram, theta, filter_name=name)
    found = exact.iradon(sinogram, theta, filter_name=name, threads=threads)
    # Equal bit for bit where scipy's transform rounds columns and rows alike, which it need not promise.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * np.ptp(expected))


def test_a_large_image_is_projected_and_reconstructed_alike() -> None:
    image, theta = np.random.default_rng(5).random((257, 257)), np.linspace(0, 180, 50, endpoint=False)
    sinogram = skimage.transform.radon(image, theta)
    np.testing.assert_array_equal(exact.radon(image, theta), sinogram)
    expected = skimage.transform.iradon(sinogram, theta, filter_name="hann")
    found = exact.iradon(sinogram, theta, filter_name="hann")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * np.ptp(expected))


def test_views_of_other_memory_layouts_are_taken() -> None:
    image, theta = np.random.default_rng(6).random((40, 20)), np.array([10.0, 70.0])
    np.testing.assert_array_equal(exact.radon(image[::2].T, theta), exact.radon(image[::2].T.copy(), theta))


@pytest.mark.parametrize("shape", [(4, 5), (4,), (0, 0), (2, 3, 3)])
def test_only_square_images_are_projected(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="square image, found the shape"):
        exact.radon(np.zeros(shape), np.array([0.0]))


def test_a_sinogram_has_a_column_an_angle() -> None:
    with pytest.raises(ValueError, match=r"2 angles.*\(5, 3\)"):
        exact.iradon(np.zeros((5, 3)), np.array([0.0, 90.0]), filter_name="hann")
