"""Real slices as 16-bit data: through `harness import` to a data set, labels and the scores of the noisy input.

They lie beside the project, where there are any, and never in it.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.base.slices import read_image
from harness.base.structs import read_json
from harness.dataset.load import load_data
from harness.dataset.scans_file import ScansFile
from harness.imaging.hounsfield import HU16, hounsfield
from harness.imaging.portable import gaussian_blur
from harness.imaging.regions import shrink
from harness.labels.label_set import build_labels
from harness.protocol import Metric, Protocol, Purify, RankBy, ScansData
from harness.scoring.score import score
from harness.scoring.values import Table
from tests.importing.made import HU, ct, hu_of, imported, save

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "ct"
NOISE_HU = 60

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="the real slices are not at hand")

Slices = Mapping[str, list[tuple[dict[str, str], HU, HU]]]
"""Of each patient the facts, low dose and normal dose of slices, from the feet to the head."""


@pytest.fixture(scope="module")
def slices() -> Slices:
    """The slices of soft kernels, and the same with noise, which no scan would cut off at -1024 HU."""
    found: dict[str, list[tuple[dict[str, str], HU, HU]]] = {}
    with (REAL / "manifest.csv").open() as table:
        rows = [row for row in csv.DictReader(table) if row["role"] != "sharp kernel"]
    for number, row in enumerate(rows):
        with Image.open(REAL / row["file"]) as image:
            normal = np.asarray(image).astype(np.int64) - 1024
        grain = gaussian_blur(np.random.default_rng(number).normal(size=normal.shape).astype(np.float32), 0.7)
        low = np.rint(normal + NOISE_HU * grain / grain.std()).astype(np.int64)
        found.setdefault(row["file"].split("_")[0], []).append((row, low, normal))
    return found


def as_dicom(slices: Slices, root: Path) -> None:
    for patient, planes in slices.items():
        for place, (row, *doses) in enumerate(planes):
            for series, (folder, hu) in enumerate(zip(("quarter_3mm", "full_3mm"), doses, strict=True), start=1):
                image = ct(
                    hu,
                    z=20.0 * place,
                    series=str(series),
                    patient=patient,
                    PixelSpacing=[float(row["px"])] * 2,
                    SliceThickness=float(row["thick"]),
                    ConvolutionKernel=row["kernel"],
                    KVP=float(row["kvp"]),
                    Exposure=int(row["mAs"]),
                    Manufacturer=row["maker"],
                )
                save(image, root / patient / folder / f"{patient}.{place}.IMA")


def protocol(data: Path, **more: object) -> Protocol:
    return Protocol(
        schema=1,
        name="real",
        version=1,
        title="Real slices in HU",
        data=ScansData(path=str(data), **more),  # type: ignore[arg-type]
        purify=Purify(variant="corrected", weak_denoiser="tv"),
        metrics=(
            Metric(name="RMSE", metric="rmse"),
            Metric(name="muscle", metric="tissue_bias.muscle"),
            Metric(name="lung", metric="tissue_bias.lung"),
            Metric(name="emphysema", metric="densitometry.emphysema_index_bias"),
        ),
        rank_by=RankBy(metric="RMSE"),
    )


def value(table: Table, metric: str, region: str) -> float:
    found = table[metric][region].value
    assert found is not None
    return found


@pytest.fixture(scope="module")
def data(slices: Slices, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set of all slices; nothing is left out, nothing is odd."""
    root = tmp_path_factory.mktemp("real") / "scans"
    as_dicom(slices, root)
    found, output = imported(root)
    assert not found.left
    assert [(one.paired, one.notes, one.padded, one.clipped) for one in found.report.patients] == 3 * [(True, (), 0, 0)]
    return output


def test_hu_and_facts_are_those_of_the_slices(slices: Slices, data: Path) -> None:
    of_size = {float(planes[0][0]["px"]): planes for planes in slices.values()}
    cases = read_json(data / "dataset.json", ScansFile).cases
    assert len(cases) == 10
    for case in cases:
        (planes,) = (planes for px, planes in of_size.items() if abs(px - case.pixel_mm) < 1e-5)
        row, low, normal = planes[int(case.name[-4:]) - 1]
        assert np.abs(hu_of(data, "lq", case.name) - low).max() <= 1
        assert np.abs(hu_of(data, "gt", case.name) - normal).max() <= 1
        assert (case.thickness_mm, case.kvp, case.kernel) == (float(row["thick"]), 120, row["kernel"])


def test_16_bit_pngs_with_slope_and_intercept_are_the_same_set(slices: Slices, data: Path, tmp_path: Path) -> None:
    patient = "A0001"
    for place, (_, *doses) in enumerate(slices[patient]):
        for folder, hu in zip(("ldct", "ndct"), doses, strict=True):
            path = tmp_path / "scans" / patient / folder / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((hu + 8192).astype(np.uint16)).save(path)
    found, output = imported(
        tmp_path / "scans",
        slope=1.0,
        intercept=-8192.0,
        pixel_mm=float(slices[patient][0][0]["px"]),
        patient="(A0001)/",
        paired=True,
    )
    assert not found.left
    digests = {(one.lq, one.gt) for one in read_json(output / "dataset.json", ScansFile).cases}
    assert digests < {(one.lq, one.gt) for one in read_json(data / "dataset.json", ScansFile).cases}


def test_labels_regions_and_scores_of_the_noisy_input(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    whole = load_data(protocol(data))
    assert whole.notes == ()  # no false alarm of misfits
    chosen = protocol(data, leave_out=("p00?-000[3-9]", "p001-0001", "p002-0001", "p003-0001"))
    dataset = load_data(chosen)
    assert [case.name for case in dataset.cases] == ["p001-0002", "p002-0002", "p003-0002"]
    labels = build_labels(dataset, chosen.purify)
    assert labels.implausible == ()
    for case in dataset.cases:
        masks = shrink(labels.regions(case))
        assert min(masks[name].mean() for name in ("lung", "body", "background")) > 0.05
        normal = hounsfield(read_image(Path(str(case.gt))), HU16)
        assert -950 < normal[masks["lung"]].mean() < -650
        assert abs(normal[masks["body"]].mean()) < 150
    outputs = {case.name: Path(case.lq) for case in dataset.cases}
    scores = score(outputs, dataset, labels, chosen, extractors=[]).label
    assert value(scores, "RMSE", "body") == pytest.approx(NOISE_HU, rel=0.02)
    assert value(scores, "RMSE", "background") == pytest.approx(NOISE_HU, rel=0.02)  # not cut off at -1024 HU
    assert abs(value(scores, "muscle", "body")) < 2
    assert abs(value(scores, "lung", "lung")) < 10
    assert value(scores, "emphysema", "lung") > 1
