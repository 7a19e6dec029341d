from __future__ import annotations

import io
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from harness.base.slices import read_grey
from harness.imaging.regions import REGIONS, Code, shrink
from harness.protocol import FidelityGate
from harness.scoring import pictures
from harness.scoring.attachment_names import PICTURES, STRIP
from harness.scoring.pictures import MARGIN, Pictures, choose, compress, make_pictures, patient_box
from tests.picture_set import CASES, codes, picture_set, scorecard, slice_values

ERRORS = dict(zip(CASES, (9.0, 8.0, 1.0, 2.0, 5.0, 4.0), strict=True))
GATE = FidelityGate()


def chosen(errors: dict[str, float | None]) -> dict[str, str]:
    return {role: one.case for role, one in choose(slice_values(errors), ("truth", GATE.metric, GATE.region))}


def test_worst_median_and_best_are_of_different_patients() -> None:
    # by value: p2-s1 1, p2-s2 2, p3-s2 4, p3-s1 5, p1-s2 8, p1-s1 9; the lower of both in the middle is the median
    assert chosen({**ERRORS}) == {"worst": "p1-s1", "median": "p3-s2", "best": "p2-s1"}


def test_a_single_patient_still_gives_three_slices() -> None:
    assert chosen({"p1-s1": 1.0, "p1-s2": 3.0, "p1-s3": 2.0}) == {"worst": "p1-s2", "median": "p1-s3", "best": "p1-s1"}


@pytest.mark.parametrize(
    ("errors", "roles"),
    [({}, []), ({"p1-s1": 1.0}, ["worst"]), ({"p1-s1": 1.0, "p2-s1": 2.0, "p3-s1": None}, ["worst", "best"])],
)
def test_fewer_slices_give_fewer_pictures(errors: dict[str, float | None], roles: list[str]) -> None:
    assert list(chosen(errors)) == roles


def test_the_box_holds_the_patient_and_its_margin() -> None:
    assert patient_box(codes()) == (20 - MARGIN, 10 - MARGIN, 60 + 2 * MARGIN, 76 + 2 * MARGIN)
    assert patient_box(np.full((5, 7), Code.AIR, np.uint8)) == (0, 0, 5, 7)


def test_pictures_are_the_slices_pixel_for_pixel(tmp_path: Path) -> None:
    dataset, labels, outputs = picture_set(tmp_path)
    files = make_pictures(dataset, labels, outputs, scorecard(ERRORS), GATE)
    found = msgspec.json.decode(files[PICTURES], type=Pictures)
    assert (found.quality, found.error, found.window_hu) == (100, 0.0, (-1024, 1200))
    assert set(files) == {PICTURES, STRIP, *(name for one in found.slices for name in one.files.values())}
    kinds = {"input": "lq", "output": "output", "label": "labels", "truth": "truth"}
    for one in found.slices:
        top, left, height, width = one.crop
        for kind, folder in kinds.items():
            shown = np.asarray(Image.open(io.BytesIO(files[one.files[kind]])).convert("L"))
            whole = read_grey(tmp_path / folder / f"{one.case}.png")
            assert np.array_equal(shown, whole[top : top + height, left : left + width]), kind


def test_the_overlay_has_the_colours_of_the_scoring_regions(tmp_path: Path) -> None:
    dataset, labels, outputs = picture_set(tmp_path)
    files = make_pictures(dataset, labels, outputs, scorecard(ERRORS), GATE)
    overlay = np.asarray(Image.open(io.BytesIO(files["worst-regions.png"])).convert("RGBA"))
    top, left, height, width = patient_box(codes())
    masks = {name: mask[top : top + height, left : left + width] for name, mask in shrink(codes()).items()}
    for name in ("background", "body", "lung", "boundary"):
        colour = (*bytes.fromhex(pictures.REGION_COLOURS[name][1:]), 255)
        assert (overlay[masks[name]] == colour).all(), name
    nothing = ~np.any([masks[name] for name in pictures.REGION_COLOURS], axis=0)
    assert (overlay[nothing][:, 3] == 0).all()


def test_every_region_but_the_whole_has_a_colour_of_its_own() -> None:
    assert set(pictures.REGION_COLOURS) == set(REGIONS) - {"whole"}
    assert len(set(pictures.REGION_COLOURS.values())) == len(pictures.REGION_COLOURS)


def test_large_pictures_lose_a_little_and_small_ones_nothing() -> None:
    rng = np.random.default_rng(0)
    small, large = (rng.integers(0, 255, (side, side)).astype(np.uint8) for side in (256, 257))
    data, quality, error = compress(small)
    assert (quality, error) == (100, 0.0)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data)).convert("L")), small)
    data, quality, error = compress(large)
    assert quality == 95
    assert 0 < error < 5
    assert error == np.abs(np.asarray(Image.open(io.BytesIO(data)).convert("L"), np.int16) - large).mean()


def test_records_that_show_the_same_slice_share_its_pictures(tmp_path: Path) -> None:
    """Whatever their outputs: the files of input, label, truth and regions are equal byte for byte."""
    dataset, labels, outputs = picture_set(tmp_path / "a", noise=5.0)
    _, _, others = picture_set(tmp_path / "b", noise=60.0)
    first, second = (make_pictures(dataset, labels, own, scorecard(ERRORS), GATE) for own in (outputs, others))
    for role in ("worst", "median", "best"):
        for kind in ("input.webp", "label.webp", "truth.webp", "regions.png"):
            assert first[f"{role}-{kind}"] == second[f"{role}-{kind}"]
        assert first[f"{role}-output.webp"] != second[f"{role}-output.webp"]


def test_the_strip_shows_the_same_lung_of_four_images(tmp_path: Path) -> None:
    dataset, labels, outputs = picture_set(tmp_path, noise=0.0)
    strip = Image.open(io.BytesIO(make_pictures(dataset, labels, outputs, scorecard(ERRORS), GATE)[STRIP])).convert("L")
    assert strip.size == (4 * 96 + 3 * 4, 96)
    noisy, output, _, truth = (np.asarray(strip, np.float64)[8:-8, 100 * at + 8 : 100 * at + 88] for at in range(4))
    assert np.abs(output - truth).mean() < 3 < np.abs(noisy - truth).mean()
