from __future__ import annotations

import io
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from harness.dataset.cases import Case, Dataset
from harness.scoring.bias_map import ABOVE, BELOW, bias_map, coloured
from tests.scoring.further_set import HU_PER_GREY, LUNG, NOISE, SIZE, denoised, inputs, make_set

CROP = (10, 20, 100, 90)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_set(tmp_path_factory.mktemp("set"), scans=4)


def box(case: Case) -> tuple[int, int, int, int]:
    assert case.name == "p3-s1"  # the middle one of eight
    return CROP


def test_colours_say_sign_and_size() -> None:
    found = coloured(np.array([[-9.0, -1.0, -0.5, 0.0, 0.5, 1.0, 9.0]]))[0]
    np.testing.assert_array_equal(found[[0, 1]], [BELOW, BELOW])
    np.testing.assert_array_equal(found[[5, 6]], [ABOVE, ABOVE])
    np.testing.assert_array_equal(found[3], [255, 255, 255])
    np.testing.assert_array_equal(found[2], [144, 178, 214])  # half of the way from white, halves rounded to even
    np.testing.assert_array_equal(found[4], [216, 140, 149])


@pytest.mark.parametrize(("shift", "colour"), [(-20, BELOW), (0, (255, 255, 255)), (20, ABOVE)])
def test_a_shift_fills_the_map_with_its_colour(
    dataset: Dataset, tmp_path: Path, shift: int, colour: tuple[int, int, int]
) -> None:
    """20 grey levels are 200 HU, twice the full colour."""
    found = bias_map(
        denoised(dataset, tmp_path, lambda image: np.full_like(image, int(LUNG) + shift)), dataset, box=box
    )
    assert found is not None
    with Image.open(io.BytesIO(found.picture)) as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=int)
    assert pixels.shape == (100, 90, 3)
    assert np.abs(pixels - colour).max() <= 6  # WebP's
    assert found.facts.noise == 0


def test_the_caption_says_the_scale_and_how_much_noise_is_left(dataset: Dataset) -> None:
    found = bias_map(inputs(dataset), dataset, box=box)
    assert found is not None
    facts = found.facts
    assert (facts.case, facts.patient, facts.outputs, facts.crop) == ("p3-s1", "p3", 4, CROP)
    assert facts.noise == pytest.approx(NOISE * HU_PER_GREY / 2, rel=0.03)  # of four scans half is left
    assert str(facts) == (
        "Mean of 4 outputs of p3-s1 less the truth: blue -100 HU or less, white 0, red +100 HU or more. "
        f"Noise that is left: {facts.noise:.3g} HU."
    )
    unknown = bias_map(inputs(dataset), msgspec.structs.replace(dataset, window_hu=None), box=box)
    assert unknown is not None
    assert (unknown.facts.unit, unknown.facts.full) == ("grey", 12)


def test_without_several_scans_there_is_no_map(dataset: Dataset) -> None:
    outputs = {case.name: Path(case.lq) for case in dataset.cases}
    assert bias_map(outputs, dataset, box=lambda _: (0, 0, SIZE, SIZE)) is None
