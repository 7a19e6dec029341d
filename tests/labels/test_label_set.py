"""Label sets: the golden labels through the whole stage, content addressing, damage, regions."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from harness.base.errors import UsageError
from harness.base.slices import read_grey, write_grey
from harness.dataset.cases import Case, Dataset
from harness.imaging import denoise
from harness.imaging.blend import label as label_of
from harness.imaging.masks import common_mask, remove_background
from harness.imaging.regions import Code
from harness.labels.label_set import LabelSet, build_labels, write_labels
from harness.protocol import Purify

GOLDEN = Path(__file__).parents[1] / "golden"
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
    return labels.path("small_normal").stat().st_mtime_ns


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


@pytest.mark.parametrize("damage", ["truncated", "other pixels", "missing", "note"])
def test_only_what_is_damaged_is_built_again(tmp_path: Path, damage: str) -> None:
    dataset = _with_truth(tmp_path)
    labels = build_labels(dataset, Purify(strategy="rb"))
    path, other = labels.path("small_normal"), labels.path("small_leaky_wall")
    good, untouched = path.read_bytes(), other.stat().st_mtime_ns
    if damage == "truncated":
        path.write_bytes(good[: len(good) // 2])
    elif damage == "other pixels":
        write_grey(path, np.zeros((96, 96), np.uint8))
    elif damage == "missing":
        path.unlink()
    else:
        (Path(labels.folder) / "slices" / "small_normal.json").write_text('{"files": {}}')
    assert build_labels(dataset, Purify(strategy="rb")) == labels
    assert path.read_bytes() == good
    assert other.stat().st_mtime_ns == untouched


def test_an_unknown_weak_denoiser_is_refused_before_any_work(cache: Path) -> None:
    with pytest.raises(UsageError, match="weak denoiser 'wavelet'"):
        build_labels(_dataset(*SMALL), Purify(weak_denoiser="wavelet"))
    assert not cache.exists()


def test_a_slice_that_cannot_be_purified_is_named(tmp_path: Path) -> None:
    for kind in ("lq", "gt"):
        image = read_grey(GOLDEN / "small_normal" / f"{kind}.png")
        write_grey(tmp_path / f"{kind}.png", np.ascontiguousarray(image[:90]))
    wide = Case(name="wide", patient="p", lq=str(tmp_path / "lq.png"), gt=str(tmp_path / "gt.png"))
    dataset = _dataset(*SMALL)
    dataset = Dataset(cases=(*dataset.cases, wide), window_hu=dataset.window_hu, digest="d3")
    with pytest.raises(UsageError, match=r"(?s)1 slice cannot be purified:.*wide: not square: 90 x 96"):
        build_labels(dataset, Purify(strategy="rb"))


def test_any_outputs_can_be_the_weak_denoiser(tmp_path: Path) -> None:
    dataset = _dataset(*SMALL)
    outputs = {}
    for name in SMALL:
        outputs[name] = tmp_path / f"{name}.png"
        write_grey(outputs[name], read_grey(GOLDEN / name / "weak.png"))
    purify = Purify(weak_denoiser="submissions/mine")
    labels = build_labels(dataset, purify, weak_outputs=outputs)
    for name in SMALL:
        np.testing.assert_array_equal(_label(labels, name), read_grey(GOLDEN / name / "label_ipv2.png"))
    assert build_labels(dataset, purify, weak_outputs=outputs) == labels
    write_grey(outputs[SMALL[0]], np.zeros((96, 96), np.uint8))
    assert build_labels(dataset, purify, weak_outputs=outputs).folder != labels.folder
    with pytest.raises(UsageError, match="submissions/mine is a submission, and its outputs are missing"):
        build_labels(dataset, purify)


def test_a_written_set_is_laid_out_as_the_authors_do(tmp_path: Path) -> None:
    dataset, purify = _with_truth(tmp_path), Purify(strategy="rb")
    labels = build_labels(dataset, purify)
    write_labels(dataset, labels, purify, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"lq", "gt_bar", "manifest.json"}
    for case in dataset.cases:
        np.testing.assert_array_equal(
            read_grey(tmp_path / "out" / "gt_bar" / f"{case.name}.png"), read_grey(GOLDEN / case.name / "label_rb.png")
        )
        np.testing.assert_array_equal(read_grey(tmp_path / "out" / "lq" / f"{case.name}.png"), read_grey(Path(case.lq)))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["labels"] == labels.digest
    assert manifest["purify"]["strategy"] == "rb"
    assert set(manifest["slices"]) == set(SMALL)
    with pytest.raises(UsageError, match="already exists"):
        write_labels(dataset, labels, purify, tmp_path / "out")


def test_no_text_of_an_organisers_file_leaves(tmp_path: Path) -> None:
    dataset, purify = _dataset(SMALL[0]), Purify(strategy="rb")
    text = PngInfo()
    text.add_text("PatientName", "Doe")
    Image.fromarray(read_grey(Path(dataset.cases[0].lq))).save(tmp_path / "lq.png", pnginfo=text)
    case = msgspec.structs.replace(dataset.cases[0], lq=str(tmp_path / "lq.png"))
    dataset = msgspec.structs.replace(dataset, cases=(case,))
    write_labels(dataset, build_labels(dataset, purify), purify, tmp_path / "out")
    assert b"Doe" in (tmp_path / "lq.png").read_bytes()
    assert not [path for path in (tmp_path / "out").rglob("*.*") if b"Doe" in path.read_bytes()]


def test_labels_that_do_not_look_right_are_named_but_not_for_what_the_strategy_keeps() -> None:
    """small_body_both_sides: the body spans the width, so that published removal leaves the background below it."""
    dataset = _dataset("small_body_both_sides")
    (line,) = build_labels(dataset, Purify(strategy="rb")).implausible
    assert line.startswith("small_body_both_sides: ")
    assert "background is still in the mask" in line
    kept = build_labels(dataset, Purify(strategy="ipv1")).implausible
    assert not any("background" in one for one in kept)
