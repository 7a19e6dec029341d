"""Pairs that do not fit, and pairs that do."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from harness.dataset.pairs_fit import Misfits, look_at, misfits
from tests.chest import chest, chest_pair, scanned

Grey = NDArray[np.uint8]
Pairs = dict[str, tuple[Grey, Grey]]
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "ct"


def judged(pairs: Pairs) -> Misfits:
    looks = {name: (look_at(np.array(low)), look_at(np.array(normal))) for name, (low, normal) in pairs.items()}
    return misfits(looks, {name: name.split("-")[0] for name in pairs})


def sound() -> Pairs:
    """Two slices of each of five patients."""
    return {f"p{one}-s{level}": chest_pair(patient=one, slice=level) for one in range(1, 6) for level in (1, 3)}


def stretched(image: Grey) -> Grey:
    low, high = int(image.min()), int(image.max())
    return ((image.astype(int) - low) * 255 // (high - low)).astype(np.uint8)


def test_sound_pairs_fit() -> None:
    assert judged(sound()) == Misfits({}, {})


@given(st.integers(0, 10**6))
def test_any_patient_fits_itself(patient: int) -> None:
    assert judged({"a": chest_pair(patient=patient)}) == Misfits({}, {})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda image: image[:, ::-1], "flipped left to right"),
        (lambda image: image[::-1], "flipped upside down"),
        (lambda image: image[::-1, ::-1], "turned by 180"),
        (lambda image: image.T, "transposed"),
        (lambda image: np.rot90(image), "turned by 270 degrees"),
        (lambda image: 255 - image, "inverted"),
        (lambda image: np.clip(image * 1.3, 0, 255).astype(np.uint8), "times as bright"),
    ],
)
def test_an_image_in_another_form_than_its_partner_is_certain(spoil: Callable[[Grey], Grey], said: str) -> None:
    pairs = sound()
    low, normal = pairs["p3-s1"]
    found = judged(pairs | {"p3-s1": (low, spoil(normal))})
    assert list(found.certain) == ["p3-s1"]
    assert said in found.certain["p3-s1"]
    assert found.likely == {}


def test_a_patient_who_moved_is_not_taken_for_a_flipped_one() -> None:
    pairs = sound()
    low, normal = pairs["p3-s1"]
    assert judged(pairs | {"p3-s1": (low, np.roll(normal, 5, axis=1))}) == Misfits({}, {})


def test_another_patients_slice_is_named_with_the_one_that_fits_better() -> None:
    pairs = sound()
    names = list(pairs)
    swapped = {name: (pairs[name][0], pairs[names[index - 2]][1]) for index, name in enumerate(names)}
    found = judged(swapped)
    assert found.certain == {}
    assert set(found.likely) == set(pairs)
    assert all("another patient's" in reason for reason in found.likely.values())


def test_two_images_that_were_swapped_are_named() -> None:
    pairs = sound()
    low, normal = pairs["p3-s1"]
    found = judged(pairs | {"p3-s1": (normal, low)})
    assert found.certain == {}
    assert list(found.likely) == ["p3-s1"]
    assert "swapped" in found.likely["p3-s1"]


def test_pairs_of_which_both_images_are_inverted_are_named() -> None:
    pairs = sound()
    low, normal = pairs["p3-s1"]
    found = judged(pairs | {"p3-s1": (255 - low, 255 - normal)})
    assert found.certain == {}
    assert list(found.likely) == ["p3-s1"]
    assert "both of its images seem to be inverted" in found.likely["p3-s1"]


def test_bright_padding_around_a_round_field_of_view_is_not_taken_for_inverted_air() -> None:
    low, normal = (image.copy() for image in chest_pair(patient=3))
    across, down = np.meshgrid(*[np.arange(len(low)) - len(low) / 2] * 2)
    for image in (low, normal):
        image[np.hypot(across, down) > 0.48 * len(low)] = 255
    assert judged({"a": (low, normal)}) == Misfits({}, {})


def test_something_else_is_named() -> None:
    low, _ = chest_pair(patient=1)
    other = np.random.default_rng(0).integers(0, 255, low.shape).astype(np.uint8)
    assert "little of the same" in judged({"a": (low, other)}).likely["a"]


def test_slices_that_were_stretched_each_by_its_own_range_are_named() -> None:
    found = judged({name: (stretched(low), stretched(normal)) for name, (low, normal) in sound().items()})
    assert len(found.certain | found.likely) > len(sound()) / 2  # some range over all grey levels as they are


def test_repeated_images_are_named() -> None:
    pairs = sound()
    low, normal = pairs["p1-s1"]
    other = scanned(chest(patient=1, slice=1), noise=12, seed=1234)
    found = judged(pairs | {"p7-s1": (low, normal), "p8-s1": (other, normal), "p9-s1": (normal, normal)})
    assert "that of p1-s1" in found.certain["p7-s1"]
    assert "the normal-dose image of p1-s1" in found.certain["p9-s1"]
    assert set(found.certain) == {"p7-s1", "p9-s1"}
    assert "normal-dose image is that of p1-s1" in found.likely["p8-s1"]


def test_images_smaller_than_a_map_are_compared_as_they_are() -> None:
    tiny = np.arange(100, dtype=np.uint8).reshape(10, 10)
    assert judged({"a": (tiny, tiny[::-1])}) == Misfits({}, {})
    assert judged({"a": (tiny, tiny)}).certain.keys() == {"a"}


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the slices that stay outside the project")
@pytest.mark.parametrize("window", [(-1024, 1200), (-1200, 0), (-160, 240)])
def test_real_slices_fit_their_noisy_selves(window: tuple[int, int]) -> None:
    def grey(hu: NDArray[np.float64]) -> Grey:
        return np.rint(np.clip((hu - window[0]) / (window[1] - window[0]), 0, 1) * 255).astype(np.uint8)

    with (REAL / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    rng = np.random.default_rng(0)
    pairs: Pairs = {}
    for row in rows:
        hu = np.asarray(Image.open(REAL / row["file"]))[::2, ::2].astype(np.float64) - 1024
        pairs[row["group"] or row["file"]] = grey(hu + rng.normal(0, 200, hu.shape)), grey(hu)
    assert judged(pairs) == Misfits({}, {})
