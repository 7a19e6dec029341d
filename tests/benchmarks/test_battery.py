"""The battery of docs/validity.md: who is in it, and that those that do harm do the harm they are named after."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import pytest

from benchmarks.battery import DENOISERS, ERASING, HALLUCINATING, HARMFUL, LEARNED, unspoilt
from benchmarks.observer import CONDITIONS, MOST
from benchmarks.spoils import GREY_PER_HU, Image, Mask
from harness.imaging.regions import Code, erode
from harness.phantom import levels, make_patient
from harness.phantom.lesions import LesionScans, scan_lesions

SIZE = 256


class Plane(NamedTuple):
    scans: LesionScans
    lung: Mask


@pytest.fixture(scope="module")
def plane() -> Plane:
    scans = scan_lesions(make_patient(4001, 0), levels(3)[1], size=SIZE, dose=0.02, lesions=CONDITIONS, most=MOST)
    return Plane(scans, erode(scans.absent.regions == Code.LUNG, 6))


def apply(name: str, image: Image) -> Image:
    return DENOISERS[name](image)


def contrast_left(name: str, plane: Plane, diameter_mm: float) -> float:
    """Mean share of a lesion's contrast that is left, without noise."""
    without, with_lesions = (one.truth for one in (plane.scans.absent, plane.scans.present))
    before = with_lesions.astype(float) - without
    after = apply(name, with_lesions).astype(float) - apply(name, without)
    sites = [site for site in plane.scans.sites if CONDITIONS[site.condition].diameter_mm == diameter_mm]
    assert len(sites) >= 4
    return float(np.mean([after[site.row, site.column] / before[site.row, site.column] for site in sites]))


def added(name: str, plane: Plane) -> Image:
    """By how much the output is above what the denoiser without its harm makes."""
    noisy = plane.scans.absent.lq
    above: Image = np.clip(apply(name, noisy).astype(int) - apply(unspoilt(name), noisy), 0, 255).astype(np.uint8)
    return above


def test_the_battery_is_large_and_varied() -> None:
    assert len(DENOISERS) >= 18
    assert set(LEARNED) == {"dncnn", "redcnn", "unet", "flow"}
    assert len(HALLUCINATING) >= 2
    assert len(ERASING) >= 2
    assert {unspoilt(name) for name in HARMFUL} <= set(DENOISERS) - set(HARMFUL)


@pytest.mark.parametrize("name", [*LEARNED, *HARMFUL])
def test_the_same_slice_gives_the_same_bytes(name: str, plane: Plane) -> None:
    noisy = plane.scans.absent.lq
    if name in LEARNED:
        noisy = noisy[96:160, 96:160].copy()
    kept = noisy.copy()
    first = apply(name, noisy)
    if name in HARMFUL:
        for number in range(2):  # whatever was remembered of the slice is forgotten
            apply(name, np.roll(noisy, number + 1, axis=1))
    assert (apply(name, noisy.copy()) == first).all()
    assert (noisy == kept).all()
    assert first.dtype == np.uint8
    assert first.shape == noisy.shape
    assert (first != noisy).any()


@pytest.mark.parametrize("what", ["4 vessels", "16 vessels", "8 nodules", "32 nodules"])
def test_false_structure_is_drawn_in_the_lung_and_nowhere_else(what: str, plane: Plane) -> None:
    above = added(f"tv, {what} drawn", plane)
    body = erode(plane.scans.absent.regions == Code.BODY, 6)
    assert not above[body].any()
    bright = above[plane.lung] > 50 * GREY_PER_HU
    assert bright.sum() >= 30
    assert bright.mean() < 0.25


def test_more_is_drawn_where_more_is_asked_for(plane: Plane) -> None:
    def drawn(name: str) -> int:
        return int(added(name, plane)[plane.lung].sum())

    assert drawn("tv, 16 vessels drawn") > 2 * drawn("tv, 4 vessels drawn")
    assert drawn("tv, 32 nodules drawn") > 2 * drawn("tv, 8 nodules drawn")


def test_the_noise_decides_where(plane: Plane) -> None:
    one, other = plane.scans.absent, plane.scans.absent.truth
    # the same anatomy under the noise of opposite sign
    again = np.clip(2 * other.astype(int) - one.lq, 0, 255).astype(np.uint8)
    for name in ("tv, 16 vessels drawn", "tv, 8 nodules drawn"):
        places, others = (
            apply(name, image).astype(int) - apply("tv", image) > 50 * GREY_PER_HU for image in (one.lq, again)
        )
        assert (places & others).sum() < 0.5 * min(places.sum(), others.sum())


def test_nodules_are_where_the_noise_looks_like_one(plane: Plane) -> None:
    noisy = plane.scans.absent.lq
    drawn = added("tv, 8 nodules drawn", plane) > 100 * GREY_PER_HU
    residual = cv2.GaussianBlur(noisy.astype(np.float32) - apply("tv", noisy), (0, 0), 1.0)
    assert residual[drawn].mean() > residual[plane.lung].mean() + residual[plane.lung].std()


def test_foreign_texture_is_the_same_on_every_slice_and_not_the_slices_own(plane: Plane) -> None:
    slices = [plane.scans.absent.lq, plane.scans.present.lq]
    inside = erode(plane.scans.absent.regions == Code.LUNG, 6)
    for name in ("gaussian 2, foreign noise", "gaussian 2, foreign detail"):
        first, second = (apply(name, one).astype(float) - apply("gaussian 2", one) for one in slices)
        own = slices[0].astype(float) - plane.scans.absent.truth
        assert np.corrcoef(first[inside], second[inside])[0, 1] > 0.9
        assert abs(np.corrcoef(first[inside], own[inside])[0, 1]) < 0.1


def test_opening_removes_lesions_of_its_size_and_keeps_the_mean(plane: Plane) -> None:
    assert contrast_left("tv", plane, 5) > 0.6
    assert contrast_left("tv, opened 5 mm", plane, 5) < 0.25
    noisy = plane.scans.absent.lq
    means = [apply(name, noisy)[plane.lung].mean() for name in ("tv", "tv, opened 5 mm")]
    assert means[0] == pytest.approx(means[1], abs=1)


def test_flattening_removes_what_is_fainter_than_its_bound(plane: Plane) -> None:
    assert contrast_left("tv, flattened below 150 HU", plane, 5) < 0.35
    assert contrast_left("tv, flattened below 60 HU", plane, 5) > contrast_left("tv, flattened below 150 HU", plane, 5)


@pytest.mark.parametrize("name", [*ERASING, "tv, 16 vessels drawn"])
def test_a_slice_without_lung_is_left_alone(name: str) -> None:
    image = np.random.default_rng(0).integers(100, 140, (96, 96)).astype(np.uint8)
    assert (apply(name, image) == apply("tv", image)).all()
