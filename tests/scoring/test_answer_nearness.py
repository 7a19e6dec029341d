"""Answers in disguise are nearer to themselves than any estimate; estimates, however good, are not."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from harness.base.slices import write_grey
from harness.dataset.cases import Case
from harness.imaging.denoise import tv
from harness.imaging.portable import gaussian_blur
from harness.imaging.regions import Code, shrink
from harness.scoring.answer_lookup import find_looked_up
from harness.scoring.answer_nearness import distances, is_near_label, nearer_than_scan, share_of_label

Image = NDArray[np.uint8]
SIZE = 128


def grey(values: NDArray[np.floating]) -> Image:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def jpeg(image: Image, quality: int) -> Image:
    file = io.BytesIO()
    Pillow.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Pillow.open(file))


def some_pixels_off(image: Image) -> Image:
    rng = np.random.default_rng(3)
    return grey(image + (rng.random(image.shape) < 0.26) * rng.choice([-1.0, 1.0], image.shape))


def half_of_it(image: Image) -> Image:
    """In the lung alone."""
    lung = CODES == Code.LUNG
    return np.where(lung, image, SLICE["noisy"])


DISGUISES: dict[str, Callable[[Image], Image]] = {
    "26 % of pixels one level off": some_pixels_off,
    "plus one": lambda image: grey(image + 1.0),
    "times 1.01": lambda image: grey(image * 1.01),
    "less contrast": lambda image: grey(image * 0.8 + 20),
    "JPEG 90": lambda image: jpeg(image, 90),
    "dithered": lambda image: grey(image + np.random.default_rng(4).normal(0, 0.7, image.shape)),
}


def _noise(seed: int, strength: float) -> NDArray[np.float32]:
    """Of the fineness of a scan's: a little correlated."""
    white = np.random.default_rng(seed).normal(0, 1, (SIZE, SIZE)).astype(np.float32)
    blurred = gaussian_blur(white, 0.6)
    return blurred * np.float32(strength / blurred.std())


def _plane() -> tuple[dict[str, Image], Image]:
    """A body with a textured lung: truth, a normal-dose scan, a noisy one, a label with noise of its own; codes."""
    rows, columns = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    lung = np.hypot(rows, columns + 10) < 35
    texture = gaussian_blur(np.random.default_rng(1).normal(0, 1, (SIZE, SIZE)).astype(np.float32), 2.0)
    vessels = 30 * (texture > 0.2) + 40 * texture
    truth = np.where(lung, 60 + gaussian_blur(vessels.astype(np.float32), 1.0), 150 + 8 * np.sin(columns / 9))
    slices = {
        "truth": grey(truth),
        "scan": grey(truth + _noise(5, 2)),
        "noisy": grey(truth + _noise(6, 18)),
        "label": grey(truth + _noise(7, 3)),
    }
    return slices, np.where(lung, Code.LUNG, Code.BODY).astype(np.uint8)


SLICE, CODES = _plane()
MASKS = shrink(CODES)


def too_near(image: Image) -> list[str]:
    return nearer_than_scan(image, SLICE["truth"], scan=SLICE["scan"], noisy=SLICE["noisy"], masks=MASKS)


def near_label(image: Image, noisy: Image = SLICE["noisy"]) -> bool:
    return is_near_label(image, SLICE["label"], noisy=noisy, body=MASKS["body"])


@pytest.mark.parametrize("disguise", DISGUISES)
def test_an_answer_in_disguise_is_found(disguise: str) -> None:
    change = DISGUISES[disguise]
    assert {"body", "lung"} <= set(too_near(change(SLICE["truth"])))
    assert near_label(change(SLICE["label"]))


def test_a_region_that_was_looked_up_is_enough() -> None:
    assert too_near(half_of_it(SLICE["truth"])) == ["lung"]


@pytest.mark.parametrize("name", ["noisy", "blurred", "tv", "scan", "another scan"])
def test_estimates_are_not_flagged(name: str) -> None:
    images = {
        "noisy": SLICE["noisy"],
        "blurred": grey(gaussian_blur(SLICE["noisy"].astype(np.float32), 1.5)),
        "tv": tv.denoise(SLICE["noisy"]),
        "scan": SLICE["scan"],
        "another scan": grey(SLICE["truth"] + _noise(8, 2.5)),  # nearer than any denoiser comes
    }
    assert too_near(images[name]) == []
    assert not near_label(images[name])


def test_the_truth_itself_lacks_the_labels_noise() -> None:
    assert not near_label(SLICE["truth"])
    assert share_of_label(SLICE["truth"], SLICE["label"], MASKS["body"]) > 0.6
    assert share_of_label(SLICE["label"], SLICE["label"], MASKS["body"]) == 0


def test_an_input_that_is_nearly_the_answer_makes_its_outputs_innocent() -> None:
    input_ = some_pixels_off(SLICE["truth"])
    output = grey(gaussian_blur(input_.astype(np.float32), 0.4))
    assert not nearer_than_scan(output, SLICE["truth"], scan=SLICE["scan"], noisy=input_, masks=MASKS)
    assert not near_label(some_pixels_off(SLICE["label"]), noisy=some_pixels_off(SLICE["label"]))


def test_small_regions_and_flat_images_have_no_distance() -> None:
    few = {name: np.zeros((SIZE, SIZE), bool) for name in MASKS}
    few["lung"][:10, :10] = True
    assert distances(SLICE["noisy"], SLICE["truth"], few) == {}
    flat = np.full((SIZE, SIZE), 7, np.uint8)
    assert share_of_label(flat, flat, MASKS["body"]) == np.inf
    assert distances(flat, SLICE["truth"], MASKS)["lung"][0] > 1


def test_flags_count_the_outputs_and_name_the_regions(tmp_path: Path) -> None:
    images = SLICE | {"cheat": DISGUISES["plus one"](SLICE["truth"]), "codes": CODES, "copy": SLICE["label"] + 1}
    paths = {name: tmp_path / f"{name}.png" for name in images}
    for name, path in paths.items():
        write_grey(path, np.asarray(images[name], np.uint8))
    case = Case(name="a", patient="p", lq=str(paths["noisy"]), gt="", aligned_gt=str(paths["scan"]))
    references = {"label": [paths["label"]] * 3, "truth": [paths["truth"]] * 3}
    found = find_looked_up(
        [case] * 3, [paths["cheat"], paths["copy"], paths["noisy"]], references, [paths["codes"]] * 3
    )
    said = "1 of 3 outputs are nearer to the {} than any estimate of it can be ({}; docs/cheating.md)"
    assert found.flags == (said.format("label", "body"), said.format("truth", "body, boundary, lung"))
