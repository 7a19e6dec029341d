"""All scans of a plane in one go are those that its parts make one by one."""

from __future__ import annotations

import numpy as np
import pytest

from harness.imaging.draws import generator
from harness.imaging.lesion import Lesion
from harness.imaging.regions import Code, erode
from harness.phantom import Patient, PlaneScans, scan_plane, scan_slice
from harness.phantom.further import AGAIN
from harness.phantom.lesions import PLACES, PRESENT_LOW, PRESENT_NORMAL, scan_lesions
from harness.phantom.scan import ALIGNED_GT, GT, LQ

SIZE, LEVEL, DOSE = 256, 0.45, 0.02
LESIONS = (Lesion(diameter_mm=4, contrast_hu=300), Lesion(diameter_mm=8, contrast_hu=200))
KINDS = ("gt", "lq", "truth", "aligned_gt", "regions")


@pytest.fixture(scope="module")
def scans(patient: Patient) -> PlaneScans:
    return scan_plane(patient, LEVEL, size=SIZE, dose=DOSE, lesions=LESIONS, most=8, realisations=4)


def test_the_usual_scans_are_those_of_every_plane(patient: Patient, scans: PlaneScans) -> None:
    alone, usual = scan_plane(patient, LEVEL, size=SIZE, dose=DOSE), scan_slice(patient, LEVEL, size=SIZE, dose=DOSE)
    for kind in KINDS:
        np.testing.assert_array_equal(getattr(scans.usual, kind), getattr(usual, kind))
        np.testing.assert_array_equal(getattr(alone.usual, kind), getattr(usual, kind))
    assert (alone.sites, alone.lesions_lq, alone.lesions_gt, alone.again) == ((), None, None, ())


def test_the_scans_with_lesions_are_those_of_scan_lesions(patient: Patient, scans: PlaneScans) -> None:
    own = scan_lesions(patient, LEVEL, size=SIZE, dose=DOSE, lesions=LESIONS, most=8)
    assert scans.sites == own.sites
    np.testing.assert_array_equal(scans.lesions_lq, own.present.lq)
    np.testing.assert_array_equal(scans.lesions_gt, own.present.aligned_gt)


def test_an_image_does_not_depend_on_the_others(patient: Patient, scans: PlaneScans) -> None:
    fewer = scan_plane(patient, LEVEL, size=SIZE, dose=DOSE, realisations=2)
    np.testing.assert_array_equal(fewer.again, scans.again[:1])


def test_realisations_share_the_anatomy_and_nothing_of_the_noise(scans: PlaneScans) -> None:
    """In the body, whose noise the window does not cut off: R scans of independent noise s have a mean of noise
    s / sqrt(R), and each of them shows the truth without bias."""
    inside = erode(scans.usual.regions == Code.BODY, 3)
    noise = np.array([(one.astype(float) - scans.usual.truth)[inside] for one in (scans.usual.lq, *scans.again)])
    deviations = noise.std(axis=1)
    np.testing.assert_allclose(deviations, deviations.mean(), rtol=0.03)
    among = np.corrcoef(noise)[~np.eye(len(noise), dtype=bool)]
    assert np.abs(among).max() < 0.05
    assert noise.mean(axis=0).std() == pytest.approx(deviations.mean() / np.sqrt(len(noise)), rel=0.03)
    np.testing.assert_allclose(noise.mean(axis=1), 0, atol=0.05 * deviations.mean())


def test_no_two_exposures_share_a_stream() -> None:
    numbers = [GT, LQ, ALIGNED_GT, PRESENT_LOW, PRESENT_NORMAL, PLACES, *range(AGAIN + 1, AGAIN + 20)]
    assert len(set(numbers)) == len(numbers)
    drawn = {generator(2602, 0, 450_000, number).bit_generator.random_raw() for number in numbers}
    assert len(drawn) == len(numbers)


def test_a_plane_without_room_is_scanned_once_more_as_it_is(patient: Patient) -> None:
    huge = (Lesion(diameter_mm=120, contrast_hu=50),)
    full = scan_plane(patient, LEVEL, size=64, dose=DOSE, lesions=huge, most=8)
    assert full.sites == ()
    assert full.lesions_lq is not None
    assert (full.lesions_lq != full.usual.lq).any()  # noise of its own


def test_less_than_one_realisation_is_refused(patient: Patient) -> None:
    with pytest.raises(ValueError, match="at least one realisation, found 0"):
        scan_plane(patient, LEVEL, size=64, dose=DOSE, realisations=0)


def test_another_window_shows_the_same_scans(patient: Patient) -> None:
    """Of twice the width: every grey level is half of what it was, as far as rounding and the narrow window allow."""
    wide = scan_plane(patient, LEVEL, size=64, dose=DOSE, lesions=LESIONS, most=4, window_hu=(-1024.0, 3424.0))
    usual = scan_plane(patient, LEVEL, size=64, dose=DOSE, lesions=LESIONS, most=4)
    assert (wide.usual.window_hu, usual.usual.window_hu) == ((-1024.0, 3424.0), (-1024.0, 1200.0))
    for one, other in ((wide.usual.lq, usual.usual.lq), (wide.lesions_lq, usual.lesions_lq)):
        assert one is not None
        assert other is not None
        shown = other < 255
        assert np.abs(one[shown].astype(float) - other[shown] / 2).max() <= 0.75
