"""Submissions that take 8 bits and those that take HU, on data of either kind."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.base.errors import OutputsError, UsageError
from harness.base.slices import read_image, write_grey
from harness.dataset.cases import Acquisition, Case, Dataset
from harness.engines import Engine
from harness.imaging.hounsfield import HU16, OFFSET_HU, hounsfield, whole_levels
from harness.run.execute import run_submission
from harness.run.input_kinds import mapping_note
from harness.sandbox import Limits
from harness.submission.manifest import load_submission

WINDOW = (-1024.0, 1200.0)
STEP = 2224 / 255
LIMITS = Limits(wall_s=60, memory_gb=0.5, cpus=2, shm_gb=0.01, tmp_gb=0.05, pids=60)
COPIES = """
ARG BASE_IMAGE=python:3.11-slim-bookworm
FROM ${BASE_IMAGE}
CMD ["sh", "-c", "cat /input/manifest.json; cp /input/*.png /output"]
"""
FORGETS_THE_OFFSET = """
ARG BASE_IMAGE=python:3.11-slim-bookworm
FROM ${BASE_IMAGE}
COPY run.py /
CMD ["python", "/run.py"]
"""
RUN = """
import glob, numpy as np
from PIL import Image
for path in glob.glob("/input/*.png"):
    hu = np.asarray(Image.open(path)).astype(float) - 8192
    Image.fromarray(np.uint16(np.clip(hu, 0, 65535))).save(path.replace("input", "output"))
"""


def data(folder: Path, bits: int) -> Dataset:
    """A noisy disc in air, in HU far below -1024 and above 1200 at 16 bits."""
    rng = np.random.default_rng(4)
    rows, columns = np.mgrid[:64, :64]
    hu = np.where((rows - 32) ** 2 + (columns - 32) ** 2 < 400, 40, -1000) + rng.normal(0, 150, (64, 64))
    hu[30:34, 30:34] = 3000
    values = hu + OFFSET_HU if bits == 16 else (hu + 1024) / STEP
    image = whole_levels(values, f"uint{bits}")
    for kind in ("lq", "gt"):
        write_grey(folder / str(bits) / kind / "s.png", image)
    lq, gt = (str(folder / str(bits) / kind / "s.png") for kind in ("lq", "gt"))
    scanned = Acquisition(kvp=120, mas=20) if bits == 16 else None
    case = Case(name="s", patient="p", pixel_mm=0.7, lq=lq, gt=gt, acquisition=scanned)
    return Dataset(cases=(case,), window_hu=WINDOW, bits=16 if bits == 16 else 8, digest=f"disc {bits}")


def submission(folder: Path, kind: str, dockerfile: str = COPIES) -> Path:
    folder.mkdir()
    (folder / "Dockerfile").write_text(dockerfile)
    (folder / "run.py").write_text(RUN)
    text = f'schema: 1\nname: T\nversion: "1"\nauthors: [T]\ninput: {kind}\nimage: {{build: .}}\n'
    (folder / "submission.yaml").write_text(text)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


@pytest.mark.engine
def test_the_identity_comes_back_in_either_kind_on_either_data(tmp_path: Path, engine: Engine) -> None:
    for kind in ("uint8", "uint16-hu"):
        copies = load_submission(submission(tmp_path / kind, kind))
        for bits in (8, 16):
            dataset = data(tmp_path, bits)
            run = run_submission(copies, dataset, LIMITS, seed=1, engine=engine)
            given, made = read_image(Path(dataset.cases[0].lq)), read_image(Path(run.outputs["s"]))
            assert made.dtype == given.dtype
            if (kind, bits) == ("uint8", 16):  # within half a grey level and half a HU, where the window reaches
                off = hounsfield(made, HU16) - np.clip(hounsfield(given, HU16), *WINDOW)
                assert np.abs(off).max() <= STEP / 2 + 0.5
            else:
                np.testing.assert_array_equal(made, given)
            told = json.loads(run.log)
            assert told["window_hu"] == list(WINDOW)
            assert [told.get(key) for key in ("pixels", "offset_hu", "slope_hu")] == (
                ["uint16-hu", 8192, 1] if kind == "uint16-hu" else [None] * 3
            )
            assert told["cases"][0].get("kvp") == (120 if bits == 16 else None)


def test_what_the_mapping_costs_is_measured(tmp_path: Path) -> None:
    assert mapping_note("uint8", data(tmp_path, 8)) == mapping_note("uint16-hu", data(tmp_path, 16)) == ""
    assert mapping_note("uint16-hu", data(tmp_path, 8)) == (
        "takes HU: its outputs are rounded to the grey levels of the data, 8.72 HU each"
    )
    dataset = data(tmp_path, 16)
    hu = hounsfield(read_image(Path(dataset.cases[0].lq)), HU16)
    # rounding alone moves by 8.72 / sqrt(12), cutting off by what lies beyond the window
    beyond = hu - np.clip(hu, *WINDOW)
    expected = np.sqrt(np.mean(beyond**2) + STEP**2 / 12 * np.mean(beyond == 0))
    said = mapping_note("uint8", dataset)
    assert said.startswith("takes 8 bits: slices in HU are mapped to grey levels of 8.72 HU from -1024 to 1200 HU")
    moved = float(said.split("noisy input by ")[1].split(" HU")[0])
    assert moved == pytest.approx(expected, rel=0.02)
    share = float(said.split("cuts off ")[1].split("%")[0]) / 100
    assert share == pytest.approx(np.mean(np.abs(beyond) + STEP / 2 > STEP / 2), abs=0.02)


def test_hu_of_an_unknown_window_are_refused(tmp_path: Path, engine: Engine) -> None:
    unknown = msgspec.structs.replace(data(tmp_path, 8), window_hu=None)
    with pytest.raises(UsageError, match="input: uint16-hu, but the protocol does not say what"):
        run_submission(load_submission(submission(tmp_path / "t", "uint16-hu")), unknown, LIMITS, seed=1, engine=engine)


@pytest.mark.engine
def test_hu_without_the_offset_are_named(tmp_path: Path, engine: Engine) -> None:
    made = load_submission(submission(tmp_path / "t", "uint16-hu", FORGETS_THE_OFFSET))
    with pytest.raises(OutputsError) as caught:
        run_submission(made, data(tmp_path, 16), LIMITS, seed=1, engine=engine)
    assert "HU without the offset of 8192" in caught.value.message
    assert "np.uint16(np.clip(hu + 8192, 0, 65535).round())" in caught.value.fix
