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
from harness.scoring.pictures import INDEX, MARGIN, Pictures, choose, compress, make_pictures, patient_box
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
    found = msgspec.json.decode(files[INDEX], type=Pictures)
    assert (found.quality, found.error, found.window_hu) == (100, 0.0, (-1024, 1200))
    assert set(files) == {INDEX, "preview.png", *(name for one in found.slices for name in one.files.values())}
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


def test_what_does_not_fit_is_compressed_no_more_than_needed() -> None:
    rng = np.random.default_rng(0)
    images = {"a.webp": rng.integers(0, 255, (128, 128)).astype(np.uint8)}
    lossless, quality, error = compress(images, max_bytes=100_000)
    assert (quality, error) == (100, 0.0)
    smaller, quality, error = compress(images, max_bytes=len(lossless["a.webp"]) - 1)
    assert quality == 95
    assert len(smaller["a.webp"]) < len(lossless["a.webp"])
    assert 0 < error < 5


def test_a_record_of_large_noisy_slices_stays_within_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, labels, outputs = picture_set(tmp_path)
    monkeypatch.setattr(pictures, "MAX_BYTES", 25_000)  # lossless they take more than twice as much
    files = make_pictures(dataset, labels, outputs, scorecard(ERRORS), GATE)
    assert sum(len(data) for name, data in files.items() if name not in (INDEX, "preview.png")) <= 25_000
    assert msgspec.json.decode(files[INDEX], type=Pictures).error > 0
