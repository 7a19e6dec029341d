from __future__ import annotations

import dataclasses
import hashlib
import pickle
import subprocess
import sys

import cv2
import msgspec
import numpy as np
import pytest

from harness.imaging.masks import common_mask, remove_background
from harness.imaging.regions import Code
from harness.phantom import (
    VIEWS,
    Patient,
    PhantomSlice,
    View,
    levels,
    levels_with_nodules,
    make_patient,
    nodule_levels,
    scan_slice,
)
from harness.phantom.scan import cut

SEED, SIZE, DOSE = 2602, 128, 0.02
HU_PER_GREY = 2224 / 255


def content(scanned: PhantomSlice) -> bytes:
    return b"".join(image.tobytes() for image in (scanned.gt, scanned.lq, scanned.truth, scanned.regions))


def noise(scanned: PhantomSlice, code: Code) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Noise of the low-dose slice in one region, in HU."""
    return np.asarray((scanned.lq.astype(float) - scanned.truth)[scanned.regions == code] * HU_PER_GREY)


# -------------------------------------------------------------------------------- the set
def test_levels_run_down_the_lungs() -> None:
    for slices in (1, 4, 6):
        found = levels(slices)
        assert len(found) == slices
        assert found == sorted(set(found))
        assert min(found) >= 0.15
        assert max(found) <= 0.80


def test_images_are_8_bit_and_say_what_they_are(scanned: PhantomSlice) -> None:
    for image in (scanned.gt, scanned.lq, scanned.truth, scanned.regions):
        assert image.shape == (SIZE, SIZE)
        assert image.dtype == np.uint8
    assert scanned.window_hu == (-1024.0, 1200.0)
    assert 300 < scanned.pixel_mm * SIZE < 480  # a chest's field of view in mm


def test_the_same_seed_gives_the_same_bytes_in_another_process_and_order(scanned: PhantomSlice) -> None:
    program = f"""
import hashlib
from harness.phantom import make_patient, scan_slice
for index in (1, 0):
    s = scan_slice(make_patient({SEED}, index), 0.45, size={SIZE}, dose={DOSE})
    print(hashlib.sha256(b"".join(i.tobytes() for i in (s.gt, s.lq, s.truth, s.regions))).hexdigest())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    other, same = done.stdout.split()
    assert same == hashlib.sha256(content(scanned)).hexdigest()
    assert other != same


def test_a_patient_survives_pickling(patient: Patient, scanned: PhantomSlice) -> None:
    copy = pickle.loads(pickle.dumps(patient))
    assert content(scan_slice(copy, 0.45, size=SIZE, dose=DOSE)) == content(scanned)


def test_patients_differ() -> None:
    people = [make_patient(SEED, index).anatomy for index in range(8)]
    for trait in ("half_width", "lung_height", "fat", "lung_hu", "fov_mm"):
        assert len({getattr(person, trait) for person in people}) == 8
    for trait in ("female", "contrast", "table"):
        assert len({getattr(person, trait) for person in people}) > 1
    assert make_patient(SEED + 1, 0).anatomy != people[0]
    assert any(person.nodules for person in people)
    assert any(person.opacities for person in people)


def test_sizes_and_doses_that_make_no_sense_are_refused(patient: Patient) -> None:
    for size, dose in ((8, 0.02), (64, 0.0), (64, 1.5)):
        with pytest.raises(ValueError, match="expected a size"):
            scan_slice(patient, 0.5, size=size, dose=dose)
    with pytest.raises(ValueError, match="window from low to high"):
        scan_slice(patient, 0.5, size=64, dose=0.02, window_hu=(100.0, -100.0))


# -------------------------------------------------------------------------------- the scans
def test_another_window_shows_the_same_scans(patient: Patient, scanned: PhantomSlice) -> None:
    wide = scan_slice(patient, 0.45, size=SIZE, dose=DOSE, window_hu=(-1424.0, 1200.0))
    step = (1200 + 1424) / 255
    for kind in ("gt", "lq", "truth", "aligned_gt"):
        usual = getattr(scanned, kind).astype(float) * HU_PER_GREY - 1024
        other = getattr(wide, kind).astype(float) * step - 1424
        inside = getattr(scanned, kind) > 0
        assert np.abs(usual - other)[inside].max() <= (step + HU_PER_GREY) / 2 + 1e-3
    lung = scanned.regions == Code.LUNG
    assert (scanned.lq[lung] == 0).any()
    assert not (wide.lq[lung] == 0).any()
    assert (wide.regions == scanned.regions).all()
    assert (wide.window_hu, wide.pixel_mm) == ((-1424.0, 1200.0), scanned.pixel_mm)


def test_noise_is_all_that_separates_low_dose_and_truth(scanned: PhantomSlice) -> None:
    for code in (Code.LUNG, Code.BODY):
        difference = noise(scanned, code)
        assert abs(difference.mean()) < 0.15 * difference.std()
    # Noise tells nothing about the structure under it.
    lung = scanned.regions == Code.LUNG
    assert abs(np.corrcoef(noise(scanned, Code.LUNG), scanned.truth[lung])[0, 1]) < 0.1


def test_the_normal_dose_scan_is_another_breath(patient: Patient, scanned: PhantomSlice) -> None:
    assert patient.low_dose_breath.exhaled > patient.normal_dose_breath.exhaled
    lung = scanned.regions == Code.LUNG
    between_breaths = (scanned.gt.astype(float) - scanned.truth)[lung].std() * HU_PER_GREY
    again = dataclasses.replace(patient, normal_dose_breath=patient.low_dose_breath)
    same_breath = scan_slice(again, 0.45, size=SIZE, dose=DOSE)
    assert content(same_breath) != content(scanned)
    np.testing.assert_array_equal(same_breath.truth, scanned.truth)
    quantum_noise = (same_breath.gt.astype(float) - same_breath.truth)[lung].std() * HU_PER_GREY
    assert between_breaths > 2.5 * quantum_noise


def test_breathing_out_lifts_the_diaphragm_and_sinks_the_chest(patient: Patient) -> None:
    inhaled, exhaled = (
        cut(patient, 0.74, breath, size=SIZE) for breath in (patient.normal_dose_breath, patient.low_dose_breath)
    )
    assert (exhaled.regions == Code.LUNG).sum() < 0.9 * (inhaled.regions == Code.LUNG).sum()
    higher = cut(patient, 0.45, patient.normal_dose_breath, size=SIZE).regions
    sunk = cut(patient, 0.45, patient.low_dose_breath, size=SIZE).regions
    assert (sunk == Code.LUNG).sum() < (higher == Code.LUNG).sum()


def test_noise_falls_with_the_root_of_the_dose(patient: Patient) -> None:
    spread = {
        dose: noise(scan_slice(patient, 0.45, size=SIZE, dose=dose), Code.BODY).std() for dose in (0.05, 0.2, 0.8)
    }
    assert spread[0.05] / spread[0.2] == pytest.approx(2, rel=0.25)  # electronic noise and starved rays add a little
    assert spread[0.2] / spread[0.8] == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("index", [0, 1, 4])
def test_statistics_are_those_of_real_slices(index: int) -> None:
    """science.md section 7: real lungs -811 / 139 HU, noise 172-218 HU at 0.7 mm; ours at 512 x 512 lie near."""
    scanned = scan_slice(make_patient(SEED, index), 0.45, size=256, dose=DOSE)
    lung = scanned.truth[scanned.regions == Code.LUNG] * HU_PER_GREY - 1024
    assert -880 < lung.mean() < -740
    assert 70 < lung.std() < 200
    # Twice as large pixels and half as many views as at 512 x 512: about 0.7 of the noise.
    assert 45 < noise(scanned, Code.LUNG).std() < 160
    assert 60 < noise(scanned, Code.BODY).std() < 220
    assert abs(np.median(scanned.truth[scanned.regions == Code.BODY]) * HU_PER_GREY - 1024) < 110


# -------------------------------------------------------------------------------- regions
def test_regions_are_where_they_belong(scanned: PhantomSlice) -> None:
    regions, grey = scanned.regions, scanned.truth
    codes = (Code.PADDING, Code.AIR, Code.TABLE, Code.BODY, Code.LUNG, Code.GAS)
    assert set(np.unique(regions)) == set(codes)
    shares = {code: float((regions == code).mean()) for code in codes}
    assert shares[Code.PADDING] == pytest.approx(1 - np.pi / 4, abs=0.02)
    assert 0.06 < shares[Code.LUNG] < 0.3
    assert 0.15 < shares[Code.BODY] < 0.5
    assert 0 < shares[Code.GAS] < 0.02
    assert (grey[regions == Code.PADDING] == 0).all()
    hu = {code: float(np.median(grey[regions == code])) * HU_PER_GREY - 1024 for code in codes}
    assert hu[Code.AIR] < -980
    assert hu[Code.LUNG] < -700 < hu[Code.BODY]
    # Bronchi are a few pixels wide here: only the darkest of them show air undiluted.
    assert np.percentile(grey[regions == Code.GAS], 10) * HU_PER_GREY - 1024 < -940


def test_every_lung_pixel_lies_inside_the_body(scanned: PhantomSlice) -> None:
    lung = np.isin(scanned.regions, (Code.LUNG, Code.GAS))
    outside = ~np.isin(scanned.regions, (Code.LUNG, Code.GAS, Code.BODY))
    for axis in (0, 1):
        for step in (-1, 1):
            assert not (lung & np.roll(outside, step, axis)).any()


def test_nodules_are_labelled_where_they_are_painted() -> None:
    patients = [make_patient(SEED, index) for index in (0, 2)]  # of one and two nodules, all well inside a lung
    seen = [
        (person, nodule, level)
        for person in patients
        for nodule, level in zip(
            sorted(person.anatomy.nodules, key=lambda nodule: nodule.z), nodule_levels(person), strict=True
        )
    ]
    assert len(seen) == 3
    for person, nodule, level in seen:
        scanned = scan_slice(person, level, size=256, dose=DOSE)
        inside = scanned.regions == Code.NODULE
        # Its equator, within what the texture dents and the mediastinum hides of it.
        assert inside.sum() * scanned.pixel_mm**2 == pytest.approx(np.pi * nodule.radius**2, rel=0.4)
        core = cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert scanned.truth[core].mean() * HU_PER_GREY - 1024 == pytest.approx(nodule.hu, abs=80)
        around = cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert (scanned.regions[around & ~inside] == Code.LUNG).mean() > 0.5
        beside = scan_slice(person, level + 2 * nodule.radius / person.anatomy.lung_height, size=128, dose=DOSE)
        assert not (beside.regions == Code.NODULE).any()


def test_a_nodule_outside_the_lungs_has_no_level() -> None:
    outside = make_patient(SEED, 3)  # its only nodule lies outside the lungs
    assert len(outside.anatomy.nodules) == 1
    assert nodule_levels(outside) == []
    without = make_patient(SEED, 7)
    assert without.anatomy.nodules == ()
    assert nodule_levels(without) == []


@pytest.mark.parametrize(
    ("index", "slices", "most", "moved"),
    [(0, 6, 2, 1), (7, 6, 2, 0), (0, 1, 1, 1), (2, 6, 1, 1), (2, 6, 2, 2), (2, 3, 2, 1), (1, 6, 2, 1)],
)
def test_slices_move_to_nodules_and_stay_in_order(index: int, slices: int, most: int, moved: int) -> None:
    """Patient 2 has two nodules 0.091 apart: 6 slices, 0.102 apart, show both and 3 slices, 0.203 apart, show one.
    Those of patient 1 are 0.005 apart."""
    person = make_patient(SEED, index)
    found = levels_with_nodules(person, slices, nodule_slices=most)
    assert set(found) - set(levels(slices)) == set(nodule_levels(person)[:moved])
    assert len(nodule_levels(person)) >= moved
    assert found == sorted(found)
    assert len(found) == slices
    assert min(np.diff(found), default=1.0) >= (0.76 - 0.15) / slices / 2
    assert levels_with_nodules(person, slices, nodule_slices=0) == levels(slices)


# -------------------------------------------------------------------------------- fields of view
def left_by_published_removal(index: int, view: View) -> tuple[float, float]:
    """Shares of the background air and of the lung that the published background removal leaves in the mask."""
    scanned = scan_slice(make_patient(SEED, index, view=view), 0.45, size=256, dose=DOSE)
    left = remove_background(common_mask(scanned.lq, scanned.gt)) > 0
    return float(left[scanned.regions == Code.AIR].mean()), float(left[scanned.regions == Code.LUNG].mean())


def test_a_view_changes_table_and_field_only() -> None:
    full = make_patient(SEED, 2)
    for view in VIEWS:
        other = make_patient(SEED, 2, view=view)
        np.testing.assert_array_equal(other.arteries, full.arteries)
        assert other.low_dose_breath == full.low_dose_breath
        before, after = msgspec.structs.asdict(full.anatomy), msgspec.structs.asdict(other.anatomy)
        assert {name for name in before if before[name] != after[name]} <= {"view", "fov_mm"}


@pytest.mark.parametrize("index", [0, 3, 4])
def test_published_background_removal_works_on_full_views(index: int) -> None:
    air, lung = left_by_published_removal(index, "full")
    assert air < 0.01
    assert lung > 0.9


@pytest.mark.parametrize("index", [0, 3])
@pytest.mark.parametrize("view", [view for view in VIEWS if view != "full"])
def test_published_background_removal_fails_on_the_other_views(view: View, index: int) -> None:
    air, lung = left_by_published_removal(index, view)
    assert air > 0.05
    assert lung > 0.9


@pytest.mark.parametrize("view", ["tight", "table-across"])
def test_zoomed_views_fill_the_square(view: View) -> None:
    scanned = scan_slice(make_patient(SEED, 0, view=view), 0.45, size=SIZE, dose=DOSE)
    assert not (scanned.regions == Code.PADDING).any()
    crossing = Code.BODY if view == "tight" else Code.TABLE
    assert (scanned.regions[:, 0] == crossing).any()
    assert (scanned.regions[:, -1] == crossing).any()
