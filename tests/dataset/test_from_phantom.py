"""The phantom's further images: lesions in every plane, and more low-dose scans of each patient's middle one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.base.digests import digest_pixels
from harness.base.slices import read_grey
from harness.dataset.cases import KINDS, Dataset, first_cases
from harness.dataset.fingerprints import fingerprints
from harness.dataset.from_phantom import image_kinds, phantom_slices, scanned_before, slice_digest
from harness.imaging.lesion import Lesion, Site
from harness.imaging.regions import Code
from harness.phantom import levels, make_patient
from harness.phantom.lesions import scan_lesions
from harness.protocol import Lesions, PhantomData

CONDITIONS = (Lesion(diameter_mm=4, contrast_hu=300), Lesion(diameter_mm=6, contrast_hu=-60))
PLAIN = PhantomData(patients=2, slices=2, size=128, seed=5)
DATA = msgspec.structs.replace(PLAIN, lesions=Lesions(conditions=CONDITIONS, sites=6), realisations=3)
NAMES = ["p01-s01", "p01-s02", "p02-s01", "p02-s02"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(cache))


def made(data: PhantomData = DATA) -> Dataset:
    return phantom_slices(data, None)


def test_every_plane_has_lesions_and_the_middle_ones_more_scans() -> None:
    dataset = made()
    assert [case.name for case in dataset.cases] == NAMES
    assert [(one.name, one.of, one.kind) for one in dataset.further] == [
        (f"{name}-{more}", name, more.split("-")[0])
        for name in NAMES
        for more in (["lesions", "again-1", "again-2"] if name.endswith("s02") else ["lesions"])
    ]  # of two slices the second is the middle one: 2 // 2
    assert len({one.name for one in dataset.shown}) == len(dataset.shown) == 4 + 8
    assert [(case.series, case.position_mm) for case in dataset.cases] == [
        (case.patient, None) for case in dataset.cases
    ]
    assert dataset.lesions == CONDITIONS
    assert list(dataset.sites) == NAMES
    sizes = {case.name: case.pixel_mm for case in dataset.cases}
    assert all(one.pixel_mm == sizes[one.plane] for one in dataset.further)
    assert all((one.aligned_gt is not None) == (one.kind == "lesions") for one in dataset.further)


def test_the_digests_are_those_of_the_files_all_of_which_differ() -> None:
    dataset = made()
    files = dataset.files()
    found = {
        name: {kind: digest_pixels(read_grey(Path(path))) for kind, path in paths.items()}
        for name, paths in files.items()
    }
    assert found == dataset.pixels
    assert [tuple(kinds) for kinds in found.values()] == [image_kinds(DATA, number) for number in (0, 1, 0, 1)]
    every = [digest for kinds in found.values() for digest in kinds.values()]
    assert len(set(every)) == len(every)


def test_the_cases_are_those_of_the_plain_set_and_its_digest_is_another() -> None:
    plain, dataset = made(PLAIN), made()
    for name in NAMES:
        assert {kind: dataset.pixels[name][kind] for kind in KINDS} == plain.pixels[name]
    assert (plain.further, plain.lesions, plain.sites) == ((), (), {})
    scanned_twice = made(msgspec.structs.replace(PLAIN, realisations=2))
    assert scanned_twice.pixels["p02-s02"]["again-1"] == dataset.pixels["p02-s02"]["again-1"]
    assert scanned_twice.slices["p01-s01"] == plain.slices["p01-s01"]  # nothing more of it
    assert len({one.digest for one in (plain, dataset, scanned_twice)}) == 3


def test_sites_lie_in_the_lung_and_images_are_those_of_scan_lesions() -> None:
    dataset = made()
    for case in dataset.cases:
        regions = read_grey(Path(str(case.regions)))
        assert dataset.sites[case.name]
        assert {regions[site.row, site.column] for site in dataset.sites[case.name]} == {Code.LUNG}
        assert {site.condition for site in dataset.sites[case.name]} <= {0, 1}
    own = scan_lesions(
        make_patient(5, 1), levels(2)[0], size=128, dose=PLAIN.dose, lesions=CONDITIONS, most=6
    )  # the first slice of the second patient
    (shown,) = (one for one in dataset.further if one.of == "p02-s01")
    assert dataset.sites["p02-s01"] == own.sites
    np.testing.assert_array_equal(read_grey(Path(shown.lq)), own.present.lq)
    np.testing.assert_array_equal(read_grey(Path(str(shown.aligned_gt))), own.present.aligned_gt)


def test_what_is_damaged_is_scanned_again_and_the_rest_stays() -> None:
    before = made()
    paths = [Path(path) for paths in before.files().values() for path in paths.values()]
    built = {path: path.stat().st_mtime_ns for path in paths}
    assert made() == before
    assert scanned_before(DATA) == before
    assert {path: path.stat().st_mtime_ns for path in paths} == built
    Path(before.files()["p01-s02"]["again-2"]).write_bytes(b"truncated")
    Path(before.files()["p02-s01"]["lesions"]).unlink()
    assert scanned_before(DATA) is None
    heard: list[tuple[int, int]] = []
    assert phantom_slices(DATA, lambda done, total: heard.append((done, total))) == before
    assert heard == [(3, 4), (4, 4)]
    again = {path for path in paths if path.stat().st_mtime_ns != built[path]}
    assert again == {Path(path) for name in ("p01-s02", "p02-s01") for path in before.files()[name].values()}


def test_sites_belong_to_the_digest_only_where_there_are_lesions() -> None:
    images = {kind: np.zeros((4, 4), np.uint8) for kind in (*KINDS, "lesions")}
    sites = (Site(row=1, column=2, condition=0),)
    moved = (Site(row=2, column=2, condition=0),)
    assert len({slice_digest(images, found) for found in ((), sites, moved)}) == 3
    del images["lesions"]
    assert slice_digest(images, ()) == slice_digest(images, sites)
    other = images | {"again-1": images["lq"]}
    assert slice_digest(other, ()) != slice_digest(images, ()) != slice_digest(images | {"again-2": images["lq"]}, ())


def test_other_conditions_or_counts_are_another_set() -> None:
    fainter = tuple(msgspec.structs.replace(one, contrast_hu=one.contrast_hu / 2) for one in CONDITIONS)
    other = made(msgspec.structs.replace(DATA, lesions=Lesions(conditions=fainter, sites=6)))
    assert other.digest != made().digest
    assert other.sites == made().sites  # places do not depend on contrasts
    assert other.pixels["p01-s01"]["lesions"] != made().pixels["p01-s01"]["lesions"]
    assert other.pixels["p01-s02"]["again-1"] == made().pixels["p01-s02"]["again-1"]


def test_the_first_cases_have_nothing_further() -> None:
    few = first_cases(made(), 1)
    assert [one.name for one in few.shown] == ["p01-s01"]
    assert (few.lesions, few.sites) == ((), {})
    assert list(few.files()) == ["p01-s01"]


def test_further_images_have_fingerprints_of_their_own() -> None:
    dataset = made()
    found = fingerprints(dataset)
    for name, kinds in dataset.pixels.items():
        for kind, digest in kinds.items():
            if kind == "regions":
                assert digest not in found
            else:
                assert found[digest] == (name if kind in KINDS else f"{name}-{kind}")
