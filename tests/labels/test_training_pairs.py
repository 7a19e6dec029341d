"""Training pairs: the golden inputs through the whole stage, the authors' layout, resumption, refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from harness.base.digests import digest_pixels
from harness.base.errors import UsageError
from harness.base.slices import read_grey, write_grey
from harness.dataset.cases import Case, Dataset
from harness.dataset.load import load_data
from harness.imaging.insertion import Scanner
from harness.labels.noise_fit import fit_noise
from harness.labels.training_pairs import write_pairs
from harness.protocol import Noise, PhantomData, Purify, load_protocol

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = ("small_normal", "small_leaky_wall", "phantom_8")
NOISE = Noise(dose=0.02, scanner=Scanner(photons=2e5, electronic=4.0, kernel="sharp"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _dataset(*names: str, pixel_mm: float | None = 0.75) -> Dataset:
    cases = tuple(
        Case(
            name=name,
            patient=name,
            lq=str(GOLDEN / name / "lq.png"),
            gt=str(GOLDEN / name / "gt.png"),
            pixel_mm=pixel_mm,
        )
        for name in names
    )
    return Dataset(cases=cases, window_hu=(-1024, 1200), digest="d1")


def _manifest(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return read


@pytest.mark.parametrize("strategy", ["ipv1", "rb"])
def test_pairs_are_those_of_the_published_code(tmp_path: Path, strategy: Any) -> None:
    told: list[tuple[int, int]] = []
    written = write_pairs(
        _dataset(*NAMES),
        Purify(strategy=strategy),
        tmp_path / "out",
        seed=1,
        progress=lambda *done: told.append(done),
    )
    assert written.count == len(NAMES)
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"lq_bar", "gt", "manifest.json", "trained_on.txt"}
    for name in NAMES:
        expected = read_grey(GOLDEN / name / f"train_{strategy}.png")
        np.testing.assert_array_equal(read_grey(tmp_path / "out" / "lq_bar" / f"{name}.png"), expected)
        np.testing.assert_array_equal(
            read_grey(tmp_path / "out" / "gt" / f"{name}.png"), read_grey(GOLDEN / name / "gt.png")
        )
    made = _manifest(tmp_path / "out")["slices"]["phantom_8"]["made"]
    expected = read_grey(GOLDEN / "phantom_8" / f"train_{strategy}.png")
    assert made["files"]["lq_bar/phantom_8.png"] == digest_pixels(expected)


def test_added_noise_repeats_by_slice_and_changes_with_the_seed(tmp_path: Path) -> None:
    def made(out: str, *names: str, seed: int = 1, **recipe: Any) -> dict[str, bytes]:
        write_pairs(_dataset(*names), Purify(strategy="ipv2", **recipe), tmp_path / out, seed=seed)
        return {name: (tmp_path / out / "lq_bar" / f"{name}.png").read_bytes() for name in names}

    both = made("a", "small_normal", "small_leaky_wall")
    assert made("b", "small_normal")["small_normal"] == both["small_normal"]  # whatever others there are
    assert made("c", "small_normal", seed=2)["small_normal"] != both["small_normal"]


def test_corrected_noise_is_inserted_where_the_mask_is(tmp_path: Path) -> None:
    recipe = Purify(strategy="ipv2", variant="corrected", noise=NOISE)
    write_pairs(_dataset("phantom_8"), recipe, tmp_path / "out", seed=1)
    image = read_grey(tmp_path / "out" / "lq_bar" / "phantom_8.png").astype(float)
    low, normal = (read_grey(GOLDEN / "phantom_8" / f"{kind}.png").astype(float) for kind in ("lq", "gt"))
    inside = image != low
    assert 0.1 < inside.mean() < 0.5  # the lung, and not the background
    assert abs((image - normal)[inside].mean()) < 1
    assert (image - normal)[inside].std() > 4


def test_the_sinogram_serves_other_doses_and_seeds(tmp_path: Path, cache: Path) -> None:
    for seed, dose in ((1, 0.02), (2, 0.02), (2, 0.1)):
        recipe = Purify(variant="corrected", noise=msgspec.structs.replace(NOISE, dose=dose))
        write_pairs(_dataset("phantom_8"), recipe, tmp_path / f"{seed}-{dose}", seed=seed)
    assert len(list((cache / "sinograms").iterdir())) == 1


def test_a_damaged_sinogram_is_made_again(tmp_path: Path, cache: Path) -> None:
    write_pairs(_dataset("small_normal"), Purify(), tmp_path / "a", seed=1)
    kept = next((cache / "sinograms").iterdir())
    kept.write_bytes(kept.read_bytes()[:-100])
    write_pairs(_dataset("small_normal"), Purify(), tmp_path / "b", seed=1)
    one, other = (tmp_path / run / "lq_bar" / "small_normal.png" for run in "ab")
    assert one.read_bytes() == other.read_bytes()


def test_a_killed_run_goes_on_with_what_it_had(tmp_path: Path) -> None:
    """SIGKILL after the first slices; the second call makes the others only, and ends as if nothing had been."""
    code = (
        "import sys; from pathlib import Path; import test_training_pairs as t\n"
        "if __name__ == '__main__':\n"
        "    t.write_pairs(t._dataset(*t.NAMES), t.Purify(), Path(sys.argv[1]), seed=1)\n"
    )
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen([sys.executable, "-c", code, str(out)], env=environment, start_new_session=True)
    while process.poll() is None and not list(tmp_path.glob(".out.*.part/slices/*.json")):
        time.sleep(0.02)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    (part,) = tmp_path.glob(".out.*.part")
    finished = {path.name: path.stat().st_mtime_ns for path in (part / "lq_bar").glob("[!.]*.png")}
    write_pairs(_dataset(*NAMES), Purify(), tmp_path / "whole", seed=1)
    write_pairs(_dataset(*NAMES), Purify(), out, seed=1)
    noted = {path.name: path.stat().st_mtime_ns for path in (out / "lq_bar").iterdir()}
    assert any(noted[name] == at for name, at in finished.items())
    assert _manifest(out) == _manifest(tmp_path / "whole")
    assert not list(tmp_path.glob(".*.part"))


def test_what_the_corrected_noise_needs_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"pixel size"):
        write_pairs(_dataset("small_normal", pixel_mm=None), Purify(variant="corrected"), tmp_path / "out", seed=1)
    with pytest.raises(UsageError, match=r"purify\.noise"):
        write_pairs(_dataset("small_normal"), Purify(variant="corrected"), tmp_path / "out", seed=1)
    assert list(tmp_path.iterdir()) == []


def test_noise_is_fitted_to_a_data_sets_own_slices() -> None:
    protocol = msgspec.structs.replace(load_protocol("phantom-mini"), data=PhantomData(patients=3, slices=3, size=256))
    fit = fit_noise(load_data(protocol), slices=9, seed=1)
    # The phantom's scans: 2 % of 2e5 photons, electronic noise 4. The fits' own errors: docs/adaptive_noise.md.
    assert fit.noise.dose == pytest.approx(0.02, rel=0.5)
    assert fit.low.body_hu.reproduced == pytest.approx(fit.low.body_hu.measured, rel=0.15)
    with pytest.raises(UsageError, match="do not allow a fit of the scanner"):
        fit_noise(_dataset("small_normal"), slices=3, seed=1)


def test_slices_that_cannot_be_purified_are_named_or_left_out(tmp_path: Path) -> None:
    for kind in ("lq", "gt"):
        image = read_grey(GOLDEN / "small_normal" / f"{kind}.png")
        write_grey(tmp_path / f"{kind}.png", np.ascontiguousarray(image[:90]))
    wide = Case(name="wide", patient="p", lq=str(tmp_path / "lq.png"), gt=str(tmp_path / "gt.png"))
    dataset = _dataset("small_normal")
    dataset = Dataset(cases=(*dataset.cases, wide), window_hu=dataset.window_hu, digest="d2")
    with pytest.raises(UsageError, match=r"wide: not square: 90 x 96"):
        write_pairs(dataset, Purify(), tmp_path / "out", seed=1)
    assert not (tmp_path / "out").exists()
    written = write_pairs(dataset, Purify(), tmp_path / "out", seed=1, leave_out=True)
    assert written.count == 1
    assert "wide" in written.left_out[0]
    assert "not square" in _manifest(tmp_path / "out")["left_out"]["wide"]


def test_a_folder_that_is_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="already exists"):
        write_pairs(_dataset("small_normal"), Purify(), tmp_path / "out", seed=1)
