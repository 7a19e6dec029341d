"""Coupled slices: made once, the same wherever the key is, another set where it is not, and refused with a reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.base.digests import digest_bytes
from harness.base.errors import UsageError
from harness.base.private_files import installation_secret
from harness.base.slices import read_grey, write_grey
from harness.dataset.cases import Dataset, first_cases
from harness.dataset.coupled import coupled_digest, read_noise
from harness.dataset.load import load_data
from harness.imaging.insertion import Scanner
from harness.phantom.scan import ELECTRONIC_NOISE, NORMAL_PHOTONS
from harness.protocol import Coupled, FolderData, PhantomData, Protocol, load_protocol

WIDE = (-1424.0, 1200.0)
DATA = PhantomData(patients=2, slices=1, size=96, seed=5, window_hu=WIDE)
COUPLED = Coupled(
    scanner=Scanner(photons=NORMAL_PHOTONS, electronic=ELECTRONIC_NOISE, kernel="sharp"), dose=0.02, calibrate=False
)


def protocol(data: PhantomData | FolderData = DATA, coupled: Coupled | None = COUPLED) -> Protocol:
    return msgspec.structs.replace(load_protocol("phantom-mini"), data=data, coupled=coupled, official=None)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def bytes_of(dataset: Dataset) -> dict[str, str]:
    """The digests of all coupled slices and of their noise."""
    files = {one.name: one.lq for one in dataset.further} | dataset.coupled_noise
    return {name: digest_bytes(read_grey(Path(path)).tobytes()) for name, path in files.items()}


@pytest.fixture
def folder(tmp_path: Path) -> FolderData:
    """The phantom's slices, in the authors' layout."""
    root = tmp_path / "mine"
    for case in load_data(protocol(coupled=None)).cases:
        for kind in ("lq", "gt"):
            (root / kind).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(getattr(case, kind), root / kind / f"{case.name}.png")
    return FolderData(path=str(root), window_hu=WIDE, pixel_mm=3.0)


def test_each_slice_gets_two_more_with_the_same_noise_of_opposite_sign() -> None:
    dataset = load_data(protocol())
    assert [(one.name, one.of, one.kind) for one in dataset.further] == [
        ("p01-s01-plus", "p01-s01", "plus"),
        ("p02-s01-plus", "p02-s01", "plus"),
        ("p01-s01-minus", "p01-s01", "minus"),
        ("p02-s01-minus", "p02-s01", "minus"),
    ]
    further = {one.name: read_grey(Path(one.lq)) for one in dataset.further}
    for case in dataset.cases:
        image, noise = read_grey(Path(case.lq)), read_noise(Path(dataset.coupled_noise[case.name]))
        assert noise.shape == image.shape
        assert noise.dtype == np.dtype(np.float32)
        assert 20 < noise.std() < 500  # HU, at 2 % dose
        for kind, sign in (("plus", 1), ("minus", -1)):
            moved = np.clip(image + sign * 0.2 * noise * (255 / (WIDE[1] - WIDE[0])), 0, 255)
            assert np.abs(further[f"{case.name}-{kind}"] - moved).max() <= 0.5 + 1e-3  # rounded to grey levels
    assert {one.pixel_mm for one in dataset.further} == {case.pixel_mm for case in dataset.cases}
    noises = [read_noise(Path(path)) for path in dataset.coupled_noise.values()]
    inside = noises[0] != 0
    assert abs(np.corrcoef(noises[0][inside], noises[1][inside])[0, 1]) < 0.2  # not one draw for all


def test_they_are_made_once_and_only_damaged_ones_again(cache: Path) -> None:
    dataset = load_data(protocol())
    times = {path: path.stat().st_mtime_ns for path in cache.rglob("*.png")}
    before = bytes_of(dataset)
    assert load_data(protocol()) == dataset
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.png")} == times
    Path(dataset.coupled_noise["p02-s01"]).write_bytes(b"truncated")
    assert load_data(protocol()) == dataset
    assert bytes_of(dataset) == before
    changed = {path.stem for path in cache.rglob("*.png") if path.stat().st_mtime_ns != times[path]}
    assert changed == {"p02-s01"}


def test_the_digest_says_what_was_coupled_and_the_set_stays_what_it_was() -> None:
    plain, coupled = load_data(protocol(coupled=None)), load_data(protocol())
    assert (plain.further, plain.coupled_noise) == ((), {})
    assert coupled.digest == coupled_digest(plain.digest, protocol()) != plain.digest
    back = msgspec.structs.replace(coupled, further=(), coupled_noise={}, digest=plain.digest)
    assert back == plain
    stronger = load_data(protocol(coupled=msgspec.structs.replace(COUPLED, strength=0.5)))
    assert stronger.digest not in (plain.digest, coupled.digest)
    assert bytes_of(stronger)["p01-s01-plus"] != bytes_of(coupled)["p01-s01-plus"]


def test_the_first_cases_for_a_check_are_not_coupled() -> None:
    few = first_cases(load_data(protocol()), 1)
    assert (few.further, few.coupled_noise) == ((), {})


def test_a_phantoms_are_the_same_bytes_on_every_installation(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = load_data(protocol())
    monkeypatch.setenv("HARNESS_CACHE", str(cache / "elsewhere"))
    there = load_data(protocol())
    assert (there.digest, bytes_of(there)) == (here.digest, bytes_of(here))


def test_a_folders_follow_from_the_installations_secret(
    folder: FolderData, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container knows the folder's slices but for some noise, and all code: only the secret keeps the noise from
    it."""
    here = load_data(protocol(folder))
    monkeypatch.setenv("HARNESS_CACHE", str(cache / "elsewhere"))
    there = load_data(protocol(folder))
    assert there.digest != here.digest
    assert not set(bytes_of(there).values()) & set(bytes_of(here).values())
    plain = msgspec.structs.replace(folder, path=folder.path)
    assert load_data(protocol(plain, coupled=None)).digest not in (here.digest, there.digest)
    # who is given the secret makes the same set
    monkeypatch.setenv("HARNESS_CACHE", str(cache / "shared"))
    (cache / "shared").mkdir()
    shutil.copyfile(cache / "secret", cache / "shared" / "secret")
    shared = load_data(protocol(folder))
    assert (shared.digest, bytes_of(shared)) == (here.digest, bytes_of(here))
    assert installation_secret().hex() not in shared.digest


def test_a_name_that_is_taken_is_refused_with_both_files(folder: FolderData) -> None:
    for kind in ("lq", "gt"):
        files = Path(folder.path) / kind
        write_grey(files / "p01-s01-minus.png", read_grey(files / "p02-s01.png") // 2 * 2)
    with pytest.raises(UsageError, match=r"lq/p01-s01-minus\.png: .*further slice of .*lq/p01-s01\.png") as caught:
        load_data(protocol(folder))
    assert "p01-s01-minus" in caught.value.fix


def test_a_slice_that_cannot_be_calibrated_is_named() -> None:
    """96 x 96 pixels hold too few calm ones."""
    calibrated = protocol(coupled=msgspec.structs.replace(COUPLED, calibrate=True))
    with pytest.raises(UsageError, match=r"2 slices do not allow(.|\n)*lq/p01-s01\.png: .*2000 calm pixels") as caught:
        load_data(calibrated)
    assert "calibrate: false" in caught.value.fix


def test_a_folder_need_not_be_square(folder: FolderData) -> None:
    for path in Path(folder.path).rglob("*.png"):
        write_grey(path, read_grey(path)[10:86])
    dataset = load_data(protocol(folder))
    assert {read_noise(Path(path)).shape for path in dataset.coupled_noise.values()} == {(76, 96)}
