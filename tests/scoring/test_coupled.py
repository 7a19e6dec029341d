"""The error without truth: as the truth has it, from outputs of coupled slices alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from harness.base.errors import ScoringError
from harness.base.slices import read_grey, write_grey
from harness.dataset.cases import Dataset
from harness.dataset.coupled import read_noise
from harness.dataset.load import load_data
from harness.imaging.insertion import Scanner
from harness.imaging.regions import Region, shrink
from harness.labels.battery import BATTERY
from harness.labels.label_set import LabelSet, build_labels
from harness.phantom.scan import ELECTRONIC_NOISE, NORMAL_PHOTONS
from harness.protocol import Coupled, Metric, PhantomData, Protocol, RankBy, load_protocol
from harness.scoring.coupled import check_ranked, clipped_regions, coupled_notes, coupled_table
from harness.scoring.score import score
from harness.scoring.values import Table
from harness.statistics import Replicates, paired_difference

Image = NDArray[np.uint8]
WIDE = (-1424.0, 1200.0)
REGIONS: tuple[Region, ...] = ("whole", "background", "body", "lung")
LABELS = LabelSet(folder="none: a phantom's regions are known", digest="", consensus=None)
TESTED = ("noisy input", "gaussian 0.7", "gaussian 2", "median 5", "tv", "nlm", "cnn")


def protocol_through(window_hu: tuple[float, float]) -> Protocol:
    scanner = Scanner(photons=NORMAL_PHOTONS, electronic=ELECTRONIC_NOISE, kernel="sharp")
    return msgspec.structs.replace(
        load_protocol("phantom-mini"),
        data=PhantomData(patients=2, slices=2, size=160, seed=2603, window_hu=window_hu),
        coupled=Coupled(scanner=scanner, dose=0.02, calibrate=False),
        regions=REGIONS,
        official=None,
    )


PROTOCOL = protocol_through(WIDE)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataset]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield load_data(PROTOCOL)


def outputs_of(dataset: Dataset, denoise: Callable[[Image], Image], folder: Path) -> dict[str, Path]:
    """What a denoiser makes of all that it is shown."""
    outputs = {one.name: folder / f"{one.name}.png" for one in dataset.shown}
    for one in dataset.shown:
        write_grey(outputs[one.name], denoise(read_grey(Path(one.lq))))
    return outputs


def true_error(dataset: Dataset, outputs: dict[str, Path], region: str) -> float:
    """RMSE in HU against the truth, pooled over slices, of the outputs of the slices themselves."""
    squares = []
    for case in dataset.cases:
        mask = shrink(read_grey(Path(str(case.regions))))[region]
        off = read_grey(outputs[case.name])[mask].astype(float) - read_grey(Path(str(case.truth)))[mask]
        squares.append(np.mean(off**2) * ((WIDE[1] - WIDE[0]) / 255) ** 2)
    return float(np.sqrt(np.mean(squares)))


def table(dataset: Dataset, outputs: dict[str, Path], protocol: Protocol = PROTOCOL) -> Table:
    clipped = clipped_regions(dataset, LABELS, protocol)
    return coupled_table(outputs, dataset, LABELS, protocol, clipped=clipped)


@pytest.fixture(scope="module")
def of_battery(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    return {name: outputs_of(dataset, BATTERY[name], tmp_path_factory.mktemp("out")) for name in TESTED}


@pytest.mark.parametrize("region", ["lung", "body"])
def test_it_orders_denoisers_as_the_truth_does(
    dataset: Dataset, of_battery: dict[str, dict[str, Path]], region: str
) -> None:
    """Every pair that the truth tells apart by more than a tenth; four slices cannot say more."""
    estimated = {name: table(dataset, outputs)["RMSE"][region].value for name, outputs in of_battery.items()}
    true = {name: true_error(dataset, outputs, region) for name, outputs in of_battery.items()}
    clear = [(a, b) for a, b in combinations(TESTED, 2) if abs(np.log(true[a] / true[b])) > 0.1]
    assert len(clear) >= 15  # of 21
    wrong = [pair for pair in clear if (true[pair[0]] < true[pair[1]]) != (estimated[pair[0]] < estimated[pair[1]])]
    assert wrong == [], (true, estimated)


def test_the_noisy_input_has_its_own_noise(dataset: Dataset, of_battery: dict[str, dict[str, Path]]) -> None:
    """f(A) = A: the estimate is (1 + a^2) |z|^2, and z is as strong as the noise, but for some percent of sampling."""
    found = table(dataset, of_battery["noisy input"])["RMSE"]
    assert set(found) == set(REGIONS)
    for region in ("lung", "body"):
        assert found[region].value == pytest.approx(
            np.sqrt(1.04) * true_error(dataset, of_battery["noisy input"], region), rel=0.08
        )
        assert (found[region].unit, found[region].higher_is_better, found[region].n) == ("HU", False, 4)


def test_the_truth_has_next_to_no_error(dataset: Dataset, of_battery: dict[str, dict[str, Path]]) -> None:
    """What is left is the sampling of |e|^2 - |z|^2, some percent of the noise power: its root is a few tenths."""
    truth = {case.name: Path(str(case.truth)) for case in dataset.cases}
    outputs = truth | {one.name: truth[one.of] for one in dataset.further}
    noisy = table(dataset, of_battery["noisy input"])["RMSE"]
    found = table(dataset, outputs)["RMSE"]
    for region in ("lung", "body"):
        assert abs(found[region].value) < 0.4 * noisy[region].value
        assert found[region].value < min(table(dataset, of[1])["RMSE"][region].value for of in of_battery.items())


def test_who_knows_the_noise_gets_an_error_below_0_that_still_ranks(dataset: Dataset, tmp_path: Path) -> None:
    """f = A - k z and A + k z: k^2 |z|^2 - 2 k / a |z|^2 - |z|^2, so the more of the noise the lower. This is why its
    key is kept from containers, and why values below 0 keep their order."""

    def cheat(share: float) -> dict[str, Path]:
        outputs = {case.name: Path(case.lq) for case in dataset.cases}
        for one in dataset.further:
            image = read_grey(Path(next(case.lq for case in dataset.cases if case.name == one.of)))
            grey = read_noise(Path(dataset.coupled_noise[one.of])) * (255 / (WIDE[1] - WIDE[0]))
            sign = -share if one.kind == "plus" else share
            outputs[one.name] = tmp_path / f"{share}-{one.name}.png"
            write_grey(outputs[one.name], np.clip(np.rint(image + sign * grey), 0, 255).astype(np.uint8))
        return outputs

    little, much = (table(dataset, cheat(share))["RMSE"]["body"] for share in (0.2, 0.5))
    assert much.value < little.value < 0
    assert much.value**2 / little.value**2 == pytest.approx((5 + 1 - 0.25) / (2 + 1 - 0.04), rel=0.05)


def test_the_scorecard_holds_the_table(dataset: Dataset, of_battery: dict[str, dict[str, Path]]) -> None:
    protocol = msgspec.structs.replace(
        PROTOCOL, metrics=(Metric(name="RMSE", metric="rmse"),), rank_by=RankBy(metric="RMSE")
    )
    labels = build_labels(dataset, protocol.purify)
    card = score(of_battery["nlm"], dataset, labels, protocol, extractors=[])
    assert card.further == {"coupled": table(dataset, of_battery["nlm"])}
    assert {one.case for one in card.slices} == {case.name for case in dataset.cases}


def test_differences_are_paired_over_patients(dataset: Dataset, of_battery: dict[str, dict[str, Path]]) -> None:
    one, other = (table(dataset, of_battery[name])["RMSE"]["body"] for name in ("nlm", "noisy input"))
    assert set(one.without) == {"p01", "p02"}
    assert one.low is not None
    assert one.high is not None
    assert one.low < one.value < one.high
    first, second = (Replicates(value=of.value, n=of.n, without=of.without) for of in (one, other))
    difference = paired_difference(first, second)
    assert difference.value == one.value - other.value < 0
    assert difference.p is not None


def test_without_the_further_outputs_or_the_key_there_is_no_table(
    dataset: Dataset, of_battery: dict[str, dict[str, Path]]
) -> None:
    outputs = of_battery["nlm"]
    assert table(dataset, {case.name: outputs[case.name] for case in dataset.cases}) == {}
    assert table(dataset, {name: path for name, path in outputs.items() if name != "p02-s01-minus"}) == {}
    unused = msgspec.structs.replace(PROTOCOL, coupled=None)
    assert table(dataset, outputs, unused) == {}
    assert coupled_notes(clipped_regions(dataset, LABELS, unused)) == ()
    assert coupled_notes(clipped_regions(dataset, LABELS, PROTOCOL)) == ()


def test_a_region_whose_noise_is_cut_off_is_left_out_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the usual window the noise of air is cut off at black; that of the body is not."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    protocol = protocol_through((-1024.0, 1200.0))
    narrow = load_data(protocol)
    outputs = {one.name: Path(one.lq) for one in narrow.shown}
    found = table(narrow, outputs, protocol)["RMSE"]
    assert "body" in found
    assert not {"background", "whole"} & set(found)
    notes = coupled_notes(clipped_regions(narrow, LABELS, protocol))
    left_out = [region for region in REGIONS if region not in found]
    assert len(notes) == len(left_out)
    assert any("none in background: " in note and "wider data.window_hu" in note for note in notes)
    for region in REGIONS:
        ranked = msgspec.structs.replace(protocol, rank_by=RankBy(metric="RMSE", region=region, reference="coupled"))
        if region in left_out:
            with pytest.raises(ScoringError, match=f"error without truth in {region}, but "):
                check_ranked(narrow, LABELS, ranked)
        else:
            check_ranked(narrow, LABELS, ranked)
