"""What a model was trained on must not be what it is tested on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.base.errors import UsageError
from harness.dataset.cases import Dataset
from harness.dataset.fingerprints import fingerprints, read_fingerprints, write_fingerprints
from harness.dataset.load import load_data
from harness.imaging.lesion import Lesion
from harness.protocol import Lesions, PhantomData, load_protocol
from harness.submission.manifest import load_submission
from harness.submission.overlap import refuse_shared, refuse_test_slices

ROOT = Path(__file__).resolve().parents[2]
DATA = PhantomData(patients=2, slices=1, size=64, seed=5)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def phantom(cache: Path, monkeypatch: pytest.MonkeyPatch, **other: Any) -> Dataset:
    monkeypatch.setenv("HARNESS_CACHE", str(cache))
    data = msgspec.structs.replace(DATA, **other)
    return load_data(msgspec.structs.replace(load_protocol("phantom-mini"), data=data))


def test_every_image_and_every_patient_has_a_fingerprint(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fingerprints(phantom(cache, monkeypatch))
    assert sorted(found.values()) == sorted([*["p01-s01", "p02-s01"] * 4, "patient p01", "patient p02"])


def test_another_population_shares_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_shared(fingerprints(phantom(cache, monkeypatch)), phantom(cache, monkeypatch, seed=6), what="it")


def test_other_slices_of_a_test_patient_are_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = phantom(cache, monkeypatch, slices=2, patients=1)  # other levels of the first patient
    with pytest.raises(UsageError, match=r"it holds .* of the test set: .*patient p01"):
        refuse_shared(fingerprints(others), phantom(cache, monkeypatch), what="it")


def test_a_submission_trained_on_a_test_slice_is_refused_by_name(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    test = phantom(cache, monkeypatch)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\n")
    manifest = 'schema: 1\nname: Mine\nversion: "1"\nauthors: [me]\nimage: {build: .}\n'
    (folder / "submission.yaml").write_text(manifest)
    refuse_test_slices(load_submission(folder), test)  # says nothing of its training

    (folder / "submission.yaml").write_text(manifest + "trained_on: trained_on.txt\n")
    with pytest.raises(UsageError, match=r"trained_on 'trained_on.txt' does not exist"):
        load_submission(folder)
    write_fingerprints(folder / "trained_on.txt", fingerprints(phantom(cache, monkeypatch, seed=6)))
    refuse_test_slices(load_submission(folder), test)
    slices = [digest for digest, of in fingerprints(test).items() if of == "p02-s01"]
    write_fingerprints(folder / "trained_on.txt", slices)
    with pytest.raises(UsageError, match=r"trained_on.txt holds 1 slice or patient of the test set: p02-s01"):
        refuse_test_slices(load_submission(folder), test)


@pytest.mark.parametrize("kind", ["again-1", "lesions", "lesions_gt"])
def test_training_on_a_further_scan_of_a_test_slice_is_refused(
    cache: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    lesions = Lesions(conditions=(Lesion(diameter_mm=6, contrast_hu=90),))
    test = phantom(cache, monkeypatch, realisations=2, lesions=lesions)
    seen = [test.pixels["p02-s01"][kind]]
    refuse_shared(seen, phantom(cache, monkeypatch), what="it")  # a plain set does not hold it
    with pytest.raises(UsageError, match=f"it holds 1 slice or patient of the test set: p02-s01-{kind}"):
        refuse_shared(seen, test, what="it")


@given(st.sets(st.binary(min_size=32, max_size=32).map(bytes.hex), max_size=20))
def test_fingerprints_are_read_back(tmp_path_factory: pytest.TempPathFactory, found: set[str]) -> None:
    path = tmp_path_factory.mktemp("file") / "trained_on.txt"
    write_fingerprints(path, found)
    assert read_fingerprints(path) == sorted(found)


@pytest.mark.parametrize("line", ["", "p01", "G" * 64, "a" * 63, "\x1b[31m"])
def test_what_is_no_fingerprint_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "trained_on.txt"
    path.write_text(f"{'a' * 64}\n{line}\n")
    with pytest.raises(UsageError, match=r"trained_on.txt, line 2: expected the 64 hex digits") as caught:
        read_fingerprints(path)
    assert "\x1b" not in caught.value.message
