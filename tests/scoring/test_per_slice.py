"""Noise power spectra of a set: what a record keeps of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from harness.base.slices import write_grey
from harness.dataset.cases import Case
from harness.imaging.regions import Code
from harness.protocol import Metric, Protocol, RankBy, load_protocol
from harness.scoring.per_slice import SliceValue, Spectra, image_values, mean_spectra

SIZE, SIGMA = 128, 8.0


@pytest.fixture
def protocol() -> Protocol:
    return msgspec.structs.replace(
        load_protocol("phantom-mini"),
        regions=("whole", "body", "table"),
        metrics=(Metric(name="RMSE", metric="rmse"), Metric(name="NPS frequency", metric="nps_frequency")),
        rank_by=RankBy(metric="RMSE"),
    )


def measured(
    folder: Path, protocol: Protocol, pixels_mm: list[float | None], *, hu_per_grey: float | None
) -> tuple[list[SliceValue], Spectra]:
    """White noise of SIGMA grey levels on a flat body without a table, a slice a pixel size."""
    cases, outputs, codes, labels = [], [], [], []
    for index, pixel_mm in enumerate(pixels_mm):
        noise = np.random.default_rng(index).normal(0, SIGMA, (SIZE, SIZE))
        flat = np.full((SIZE, SIZE), 100, np.uint8)
        paths = {kind: folder / kind / f"{index}.png" for kind in ("out", "lq", "label", "codes")}
        for kind, image in (("out", np.rint(flat + noise)), ("lq", flat), ("label", flat)):
            write_grey(paths[kind], image.astype(np.uint8))
        write_grey(paths["codes"], np.full((SIZE, SIZE), Code.BODY, np.uint8))
        lq = str(paths["lq"])
        cases.append(Case(name=str(index), patient=str(index), lq=lq, gt=lq, pixel_mm=pixel_mm))
        outputs.append(paths["out"])
        labels.append(paths["label"])
        codes.append(paths["codes"])
    values, spectra, _ = image_values(cases, outputs, {"label": labels}, codes, protocol, hu_per_grey, None)
    return values, mean_spectra(spectra, hu_per_grey)


def test_the_mean_spectrum_integrates_to_the_noise_in_hu(protocol: Protocol, tmp_path: Path) -> None:
    """White noise has the same power at all frequencies: variance times the area of a pixel, here in HU^2 mm^2."""
    values, spectra = measured(tmp_path, protocol, [0.7, 0.8], hu_per_grey=8.0)
    assert set(spectra) == {"label"}
    assert set(spectra["label"]) == {"whole", "body"}  # there is no table
    body = spectra["label"]["body"]
    assert (body.n, body.unit) == (2, "HU")
    # frequencies that both slices reach: 2 to 32 cycles in 64 pixels, in steps of 0.02 per mm
    assert body.frequency[0] >= 2 / (64 * 0.7)
    assert body.frequency[-1] <= 0.5 / 0.8
    np.testing.assert_allclose(np.diff(body.frequency), 0.02, rtol=1e-6)
    expected = (8 * SIGMA) ** 2 * (0.7**2 + 0.8**2) / 2
    assert np.mean(body.power) == pytest.approx(expected, rel=0.1)
    rmse = [one.value for one in values if (one.metric, one.region) == ("RMSE", "body")]
    assert rmse == [pytest.approx(8 * SIGMA, rel=0.05)] * 2


def test_of_unknown_pixels_and_window_the_spectrum_is_per_pixel_in_grey(protocol: Protocol, tmp_path: Path) -> None:
    _, spectra = measured(tmp_path, protocol, [None, None], hu_per_grey=None)
    body = spectra["label"]["body"]
    assert body.unit == "grey"
    np.testing.assert_allclose(body.frequency, np.arange(2, 33) / 64, rtol=1e-3)
    assert np.mean(body.power) == pytest.approx(SIGMA**2, rel=0.1)


def test_equal_images_have_no_spectrum(protocol: Protocol, tmp_path: Path) -> None:
    _, spectra = measured(tmp_path, protocol, [0.7], hu_per_grey=1.0)
    assert spectra
    for path in (tmp_path / "out").iterdir():
        path.write_bytes((tmp_path / "label" / path.name).read_bytes())
    case = Case(name="0", patient="0", lq=str(tmp_path / "lq/0.png"), gt=str(tmp_path / "lq/0.png"), pixel_mm=0.7)
    paths = [[tmp_path / kind / "0.png"] for kind in ("out", "label", "codes")]
    values, found, _ = image_values([case], paths[0], {"label": paths[1]}, paths[2], protocol, 1.0, None)
    assert mean_spectra(found, 1.0) == {}
    assert {one.value for one in values if one.metric == "NPS frequency"} == {None}


def test_values_by_torch_do_not_depend_on_its_threads(protocol: Protocol, tmp_path: Path) -> None:
    """With two threads torch sums in another order, which slices as large as these show in the 7th digit."""
    wanted = msgspec.structs.replace(
        protocol, metrics=(*protocol.metrics, Metric(name="SSIM", metric="ssim"), Metric(name="VIF", metric="vif"))
    )
    rng = np.random.default_rng(5)
    cases = []
    for number in range(4):
        clean = rng.integers(40, 200, (512, 512))
        images = {"lq": clean, "gt": clean, "out": np.clip(clean + rng.normal(0, SIGMA, clean.shape), 0, 255)}
        for kind, pixels in images.items():
            write_grey(tmp_path / kind / f"s{number}.png", pixels.astype(np.uint8))
        write_grey(tmp_path / "codes" / f"s{number}.png", np.full((512, 512), Code.BODY, np.uint8))
        paths = {kind: str(tmp_path / kind / f"s{number}.png") for kind in ("lq", "gt")}
        cases.append(Case(name=f"s{number}", patient="p", pixel_mm=0.7, **paths))
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            outputs, targets, codes = (
                [tmp_path / kind / f"{one.name}.png" for one in cases] for kind in ("out", "gt", "codes")
            )
            values, _, _ = image_values(cases, outputs, {"label": targets}, codes, wanted, 1.0, None)
            found.append([one for one in values if one.metric in ("SSIM", "VIF")])
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]
    assert len({one.value for one in found[0]}) > 4
