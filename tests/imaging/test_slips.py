from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.imaging.portable import gaussian_blur
from harness.imaging.slips import difference, find_slips

Grey = NDArray[np.uint8]
SIDE = 128


def chest(seed: int) -> Grey:
    """A body with two lungs of unequal size and vessels at random places, and noise: uint8 (SIDE, SIDE)."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIDE, 0:SIDE]

    def inside(row: float, column: float, high: float, wide: float) -> NDArray[np.bool_]:
        return np.asarray(((y - row) / high) ** 2 + ((x - column) / wide) ** 2 < 1)

    clean = np.where(inside(66, 62, 40, 54), 150.0, 0.0)
    clean[inside(60, 38, 25 + 3 * seed, 15)] = 30
    clean[inside(64, 88, 22, 17)] = 30
    clean[inside(98, 62, 6, 8)] = 220
    for row, column in random.integers(30, 95, (40, 2)):
        clean[inside(row, column, 2.5, 2.5)] = 130
    return as_grey(clean + random.normal(0, 12, clean.shape))


def as_grey(values: NDArray[np.float64] | NDArray[np.float32]) -> Grey:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def wrap(values: NDArray[np.float32]) -> Grey:
    """As np.uint8 does it where nobody has clipped."""
    return np.rint(values).astype(np.int64).astype(np.uint8)


NOISY = [chest(seed) for seed in range(3)]
CLEAN = [gaussian_blur(one.astype(np.float32), 1.0) for one in NOISY]


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.5])
def test_denoised_slices_look_right(sigma: float) -> None:
    assert find_slips(NOISY, [as_grey(gaussian_blur(one.astype(np.float32), sigma)) for one in NOISY]) == []


@pytest.mark.parametrize(
    ("slip", "said"),
    [
        (lambda clean: 255 - as_grey(clean), "inverted"),
        (lambda clean: as_grey(clean * 0.3), "scaled: grey levels are 0.29 times"),
        (lambda clean: as_grey(clean / 255 * 100), "scaled: grey levels are 0.38 times"),
        (lambda clean: as_grey(clean * 255), "saturated"),
        (lambda clean: as_grey(clean / 255 + 121), "flat: nearly one grey level everywhere"),
        (lambda clean: as_grey(clean + 40), "offset: grey levels lie 40 above"),
        (lambda clean: wrap(clean * 2), "wrapped around"),
        (lambda clean: wrap(clean - 10), "wrapped around"),
        (lambda clean: wrap(clean + 100), "wrapped around"),
        (lambda clean: wrap(as_grey(clean) * np.float32(255)), "wrapped around"),
        (lambda clean: np.roll(as_grey(clean), 1, axis=0), "moved 1 pixel down"),
        (lambda clean: np.roll(as_grey(clean), (-9, -2), axis=(0, 1)), "moved 9 pixels up and 2 pixels to the left"),
        (lambda clean: as_grey(clean).T, "transposed (rows and columns exchanged)"),
        (lambda clean: as_grey(clean)[::-1], "flipped upside down"),
        (lambda clean: as_grey(clean)[:, ::-1], "flipped left to right"),
        (lambda clean: np.rot90(as_grey(clean)), "turned by 90 degrees"),
        (lambda clean: np.random.default_rng(1).integers(0, 256, clean.shape).astype(np.uint8), "unlike the input"),
    ],
)
def test_a_slip_is_named(slip: Callable[[NDArray[np.float32]], Grey], said: str) -> None:
    (line,) = find_slips(NOISY, [np.ascontiguousarray(slip(clean)) for clean in CLEAN])
    assert line.startswith("3 of 3 outputs ")
    assert said in line
    assert " 0 pixels" not in line


def test_an_output_that_hardly_differs_is_named() -> None:
    """One pixel in eight moved by a grey level is 0.35 of RMS, half of them is 0.71."""
    slight, more = (one.copy() for one in NOISY[:2])
    slight.flat[::8] ^= 1
    more.flat[::2] ^= 1
    assert find_slips(NOISY[:2], [slight, more]) == [
        "1 of 2 outputs hardly changed: less than half a grey level (RMS) from the input"
    ]


def test_unchanged_and_exchanged_slices_are_counted() -> None:
    made = [as_grey(one) for one in CLEAN]
    assert find_slips(NOISY, [NOISY[0], made[2], made[1]]) == [
        "1 of 3 outputs unchanged: equal to the input in every pixel",
        "2 of 3 outputs like another slice's input: were files or names mixed up?",
    ]


def test_few_wrapped_pixels_are_enough() -> None:
    made = as_grey(CLEAN[0])
    made[:3, :5] = 253  # -3 where the input is black
    (line,) = find_slips(NOISY[:1], [made])
    assert "wrapped around: 0.09% of the pixels" in line


def test_slices_that_are_not_square_can_be_transposed_for_none() -> None:
    wide = [one[20:100] for one in NOISY]
    assert find_slips(wide, [as_grey(one[20:100]) for one in CLEAN]) == []
    (line,) = find_slips(wide, [np.ascontiguousarray(as_grey(one[20:100])[::-1]) for one in CLEAN])
    assert "flipped upside down" in line


def test_the_difference_is_output_less_input() -> None:
    noisy = np.array([[10, 20], [30, 40]], np.uint8)
    assert difference(noisy, np.array([[13, 20], [30, 36]], np.uint8)) == pytest.approx((-0.25, 2.5))
    of_air = np.array([[6700, 7192]], np.uint16)  # -1492 and -1000 HU: no window cuts them off
    assert difference(of_air, of_air + np.uint16(24)) == (24, 24)


def test_slices_in_hu_are_compared_in_hu_and_looked_at_as_grey_levels() -> None:
    noisy = [(8.72 * one.astype(np.float64) - 1024 + 8192).round().astype(np.uint16) for one in NOISY[:2]]
    window = (-1024.0, 1200.0)
    assert find_slips(noisy, noisy, window_hu=window) == ["2 of 2 outputs unchanged: equal to the input in every pixel"]
    slightly = [one + np.uint16(2) for one in noisy]  # within a grey level
    assert find_slips(noisy, slightly, window_hu=window) == []
    nearly = [noisy[0].copy(), noisy[1].copy()]
    for one in nearly:
        one[0, 0] += 1
    (line,) = find_slips(noisy, nearly, window_hu=window)
    assert "less than half a HU" in line
