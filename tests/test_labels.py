"""Label sets: the golden labels through the whole stage, content addressing, damage, regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.data import Case, Dataset
from harness.errors import UsageError
from harness.files import read_grey, write_grey
from harness.imaging import denoise
from harness.imaging.blend import label as label_of
from harness.imaging.masks import common_mask, remove_background
from harness.imaging.regions import Code
from harness.labels import LabelSet, build_labels
from harness.protocol import Purify

GOLDEN = Path(__file__).parent / "golden"
SMALL = ("small_leaky_wall", "small_normal")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _dataset(*names: str, digest: str = "d1") -> Dataset:
    cases = tuple(
        Case(name=name, patient=name, lq=str(GOLDEN / name / "lq.png"), gt=str(GOLDEN / name / "gt.png"))
        for name in names
    )
    return Dataset(cases=cases, window_hu=(-1024, 1200), digest=digest)


def _with_truth(tmp_path: Path) -> Dataset:
    """A data set that knows its regions, so that only labels are made."""
    truth = tmp_path / "truth.png"
    write_grey(truth, np.full((96, 96), Code.LUNG, np.uint8))
    dataset = _dataset(*SMALL)
    cases = tuple(
        Case(name=case.name, patient=case.patient, lq=case.lq, gt=case.gt, regions=str(truth)) for case in dataset.cases
    )
    return Dataset(cases=cases, window_hu=dataset.window_hu, digest=dataset.digest)


def _label(labels: LabelSet, name: str) -> NDArray[np.uint8]:
    return read_grey(labels.path(name))


def _built_at(labels: LabelSet) -> int:
    return (Path(labels.folder) / "labels.json").stat().st_mtime_ns


def test_labels_are_those_of_the_published_code(tmp_path: Path) -> None:
    dataset = _with_truth(tmp_path)
    told: list[tuple[int, int]] = []
    one, background = (
        build_labels(dataset, Purify(strategy="ipv1"), progress=lambda *done: told.append(done)),
        build_labels(dataset, Purify(strategy="rb")),
    )
    assert told == [(1, 2), (2, 2)]
    for name in SMALL:
        np.testing.assert_array_equal(_label(one, name), read_grey(GOLDEN / name / "label_ipv1.png"))
        np.testing.assert_array_equal(_label(background, name), read_grey(GOLDEN / name / "label_rb.png"))
    assert one.consensus is None
    np.testing.assert_array_equal(one.regions(dataset.cases[0]), np.full((96, 96), Code.LUNG))


def test_workers_make_what_one_process_makes_and_regions_are_sought() -> None:
    dataset = _dataset("phantom_8", "small_normal")
    labels = build_labels(dataset, Purify())
    for case in dataset.cases:
        low, normal = read_grey(Path(case.lq)), read_grey(Path(case.gt))
        mask = remove_background(common_mask(low, normal))
        expected = label_of("ipv2", mask, low=low, normal=normal, weak=denoise.load("nlm")(low))
        np.testing.assert_array_equal(_label(labels, case.name), expected)
    codes = labels.regions(dataset.cases[0])
    assert codes.shape == (512, 512)
    assert {Code.AIR, Code.BODY, Code.LUNG} <= set(np.unique(codes))
    assert labels.consensus is not None
    assert 0.8 < labels.consensus < 1


def test_the_recipe_and_the_data_make_the_key(tmp_path: Path) -> None:
    dataset = _with_truth(tmp_path)
    rb = build_labels(dataset, Purify(strategy="rb"))
    built = _built_at(rb)
    assert build_labels(dataset, Purify(strategy="rb")) == rb
    # remove background has no weak denoiser, so naming another one changes nothing
    assert build_labels(dataset, Purify(strategy="rb", weak_denoiser="other")) == rb
    assert _built_at(rb) == built
    ipv1 = build_labels(dataset, Purify(strategy="ipv1"))
    assert (ipv1.folder, ipv1.digest) != (rb.folder, rb.digest)
    elsewhere = Dataset(cases=dataset.cases, window_hu=None, digest="d2")
    same = build_labels(elsewhere, Purify(strategy="rb"))
    assert same.folder != rb.folder
    assert same.digest == rb.digest  # the digest is of the pixels: an identical run repeats it


@pytest.mark.parametrize("damage", ["truncated", "other pixels", "missing", "index"])
def test_a_damaged_cache_is_built_again(tmp_path: Path, damage: str) -> None:
    dataset = _with_truth(tmp_path)
    labels = build_labels(dataset, Purify(strategy="rb"))
    path = labels.path("small_normal")
    good = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(good[: len(good) // 2])
    elif damage == "other pixels":
        write_grey(path, np.zeros((96, 96), np.uint8))
    elif damage == "missing":
        path.unlink()
    else:
        (Path(labels.folder) / "labels.json").write_text('{"slices": {}}')
    assert build_labels(dataset, Purify(strategy="rb")) == labels
    assert path.read_bytes() == good


def test_an_unknown_weak_denoiser_is_refused_before_any_work(cache: Path) -> None:
    with pytest.raises(UsageError, match="weak denoiser 'wavelet'"):
        build_labels(_dataset(*SMALL), Purify(weak_denoiser="wavelet"))
    assert not cache.exists()


def test_a_failure_leaves_nothing_in_the_cache(tmp_path: Path, cache: Path) -> None:
    broken = Case(name="broken", patient="p", lq=str(tmp_path / "none.png"), gt=str(GOLDEN / SMALL[0] / "gt.png"))
    dataset = Dataset(cases=(broken,), window_hu=None, digest="d3")
    with pytest.raises(UsageError, match=r"none\.png: no such file"):
        build_labels(dataset, Purify())
    assert list((cache / "labels").iterdir()) == []
