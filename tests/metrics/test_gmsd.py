import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.metrics import gmsd

Grey = NDArray[np.uint8]


def pictures(seed: int, height: int, width: int) -> tuple[Grey, Grey]:
    rng = np.random.default_rng(seed)
    one, other = (rng.integers(0, 120, (height, width), dtype=np.uint8) for _ in range(2))
    return one, other


def value(image: Grey, reference: Grey, mask: NDArray[np.bool_], data_range: float = 255) -> float:
    found = gmsd.value(image, reference, mask, data_range=data_range, pixel_mm=None)
    assert found is not None
    return found


def everywhere(image: Grey) -> NDArray[np.bool_]:
    return np.ones(image.shape, bool)


def by_the_letter(image: Grey, reference: Grey) -> float:
    """The paper's formulas and the authors' choices (T = 170, 2 x 2 average, every second pixel, zeros outside)."""
    gradients = []
    for grey in (image, reference):
        height, width = grey.shape[0] // 2, grey.shape[1] // 2
        half = np.zeros((height + 2, width + 2))  # with the zeros beyond the image
        for i in range(height):
            for j in range(width):
                half[i + 1, j + 1] = sum(float(grey[2 * i + a, 2 * j + b]) for a in (0, 1) for b in (0, 1)) / 4
        magnitude = np.zeros((height, width))
        for i in range(height):
            for j in range(width):
                across = sum(half[i + a, j] - half[i + a, j + 2] for a in range(3)) / 3
                down = sum(half[i, j + b] - half[i + 2, j + b] for b in range(3)) / 3
                magnitude[i, j] = math.sqrt(across**2 + down**2)
        gradients.append(magnitude)
    a, b = gradients
    similarity = (2 * a * b + 170) / (a**2 + b**2 + 170)
    return math.sqrt(float(np.mean((similarity - similarity.mean()) ** 2)))


@given(seed=st.integers(0, 1000), height=st.integers(2, 13), width=st.integers(2, 13))
def test_is_the_published_definition(seed: int, height: int, width: int) -> None:
    image, reference = pictures(seed, height, width)
    assert value(image, reference, everywhere(image)) == pytest.approx(by_the_letter(image, reference), abs=1e-12)


@given(seed=st.integers(0, 1000))
def test_laws(seed: int) -> None:
    image, reference = pictures(seed, 12, 14)
    mask = everywhere(image)
    found = value(image, reference, mask)
    assert value(image, image, mask) == 0
    assert 0 <= found <= 0.5  # the similarity lies between 0 and 1
    assert value(reference, image, mask) == pytest.approx(found, rel=1e-12)
    assert value(image[:, ::-1], reference[:, ::-1], mask) == pytest.approx(found, rel=1e-12)
    assert value(2 * image, 2 * reference, mask, data_range=510) == pytest.approx(found, rel=1e-12)


def test_a_ramp_against_nothing_in_closed_form() -> None:
    reference = np.full((40, 80), 10, np.uint8)
    image = reference.copy()
    image[:, 40:] += 4 * np.arange(40, dtype=np.uint8)
    mask = np.zeros(image.shape, bool)
    mask[10:30, 20:36] = mask[10:30, 46:62] = True  # as much flat as sloping, away from the bend and the image's border
    # 4 a pixel is 8 a half-size pixel and 16 over the Prewitt's two: similarity 170 / (16^2 + 170) there, 1 elsewhere
    assert value(image, reference, mask) == pytest.approx((1 - 170 / 426) / 2, rel=1e-12)
    sloping = mask.copy()
    sloping[:, :40] = False
    assert value(image, reference, sloping) == pytest.approx(
        0, abs=1e-12
    )  # a loss that is even is none of its business


def test_reaches_two_pixels_beyond_its_region() -> None:
    image, reference = pictures(0, 40, 40)
    mask = np.zeros(image.shape, bool)
    mask[11:29, 11:29] = True
    found = value(image, reference, mask)
    reached = np.zeros(image.shape, bool)
    reached[9:31, 9:31] = True
    assert value(np.where(reached, image, 255).astype(np.uint8), reference, mask) == found
    assert value(np.where(mask, image, 255).astype(np.uint8), reference, mask) != found


def test_none_without_a_block_of_four() -> None:
    image, reference = pictures(0, 16, 16)
    mask = np.zeros(image.shape, bool)
    mask[1::2] = True  # lines of one pixel
    assert gmsd.value(image, reference, mask, data_range=255, pixel_mm=None) is None
    line = image[:1]
    assert gmsd.value(line, line, everywhere(line), data_range=255, pixel_mm=None) is None
