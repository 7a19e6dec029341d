from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.base.errors import UsageError
from harness.base.slices import read_grey, write_grey
from harness.dataset.cases import Case, Dataset, FurtherSlice
from harness.dataset.load import load_data
from harness.features import Extractor, load
from harness.imaging.regions import shrink
from harness.labels.label_set import LabelSet, build_labels
from harness.protocol import FolderData, Metric, PhantomData, Protocol, RankBy, load_protocol
from harness.scoring.scans import RANDOM, SYSTEMATIC
from harness.scoring.score import Scorecard, load_extractors, score
from harness.scoring.values import Table
from tests.published_files import FORMAT_WARNINGS, archive, pin, published_state, state_dict_file

__all__ = ["archive", "pin", "published_state", "state_dict_file"]

FID = "FID (EfficientNet-Lite0)"
# Patients 2 and 3 have nodules.
SMALL = PhantomData(patients=3, slices=2, size=128, nodule_slices=1, seed=2603)


@pytest.fixture(scope="module")
def protocol() -> Protocol:
    return msgspec.structs.replace(load_protocol("phantom-mini"), data=SMALL)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of all tests here: labels and the features of the references are made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(folder := tmp_path_factory.mktemp("cache")))
        yield folder


@pytest.fixture(scope="module")
def dataset(protocol: Protocol, cache: Path) -> Dataset:
    assert cache.is_dir()
    return load_data(protocol)


@pytest.fixture(scope="module")
def labels(protocol: Protocol, dataset: Dataset) -> LabelSet:
    return build_labels(dataset, protocol.purify)


@pytest.fixture(scope="module")
def of_inputs(dataset: Dataset, labels: LabelSet, protocol: Protocol) -> Scorecard:
    """What the noisy slices score as they are."""
    return score_of(lambda case: case.lq, dataset, labels, protocol)


@lru_cache(maxsize=1)
def extractors_of(protocol_name: str) -> Sequence[Extractor]:
    return load_extractors(load_protocol(protocol_name), device="cpu")


def score_of(choose: Callable[[Case], str], dataset: Dataset, labels: LabelSet, protocol: Protocol) -> Scorecard:
    outputs = {case.name: Path(choose(case)) for case in dataset.cases}
    return score(outputs, dataset, labels, protocol, extractors=extractors_of(protocol.name))


def test_a_set_scored_against_itself_is_perfect(dataset: Dataset, labels: LabelSet, protocol: Protocol) -> None:
    card = score_of(lambda case: str(case.truth), dataset, labels, protocol)
    assert card.truth is not None
    for region in protocol.regions:
        assert card.truth["RMSE"][region].value == 0
        assert card.truth["SSIM"][region].value == pytest.approx(1)
        if region != "nodules":
            assert card.truth[FID][region].value == pytest.approx(0, abs=1e-6)
    assert card.truth["VIF"]["whole"].value == pytest.approx(1, abs=1e-6)
    clip_fid = card.truth["CLIP-FID (random weights)"]
    assert clip_fid["whole"].value == pytest.approx(0, abs=1e-6)
    assert clip_fid["whole"].higher_is_better is None  # its protocol calls it descriptive
    assert set(clip_fid) == {"whole"}  # no maps, no regions
    assert card.gate.passed
    assert card.label["RMSE"]["whole"].value > 0
    assert {name: facts.weights for name, facts in card.extractors.items()} == {
        name: load(name).digest for name in ("efficientnet-lite0", "clip-random")
    }
    notes = {name: facts.note for name, facts in card.extractors.items()}
    assert "published ImageNet weights" in notes["efficientnet-lite0"]
    assert "random weights" in notes["clip-random"]


def test_a_region_of_a_single_slice_has_no_distribution(dataset: Dataset, labels: LabelSet, protocol: Protocol) -> None:
    with_nodule = [case for case in dataset.cases if shrink(labels.regions(case))["nodules"].any()]
    assert len(with_nodule) == 2
    cases = tuple(case for case in dataset.cases if case.name != with_nodule[0].name)
    fewer = msgspec.structs.replace(dataset, cases=cases)
    card = score_of(lambda case: case.lq, fewer, labels, protocol)
    assert card.label["RMSE"]["nodules"].n == 1
    with np.load(io.BytesIO(card.features)) as features:
        assert features["efficientnet-lite0/nodules"].shape[0] == 1
    assert "nodules" not in card.label[FID]
    assert "lung" in card.label[FID]


def test_noisy_input_stands_exactly_at_its_own_gate(of_inputs: Scorecard) -> None:
    assert of_inputs.gate.value == of_inputs.gate.bound
    assert (of_inputs.gate.reference, of_inputs.gate.passed) == ("truth", True)


def test_sharp_images_of_other_slices_do_not_pass_the_gate(
    dataset: Dataset, labels: LabelSet, protocol: Protocol
) -> None:
    cases = dataset.cases
    other = dict(zip((case.name for case in cases), (*cases[1:], cases[0]), strict=True))
    card = score_of(lambda case: str(other[case.name].truth), dataset, labels, protocol)
    assert card.truth is not None
    assert card.truth[FID]["whole"].value == pytest.approx(0, abs=1e-6)  # a perfect FID: it ignores pairing
    assert not card.gate.passed


def test_slice_values_average_to_the_table(of_inputs: Scorecard, protocol: Protocol) -> None:
    for reference, table in (("label", of_inputs.label), ("truth", of_inputs.truth or {})):
        for region in protocol.regions:
            values = [
                one.value
                for one in of_inputs.slices
                if (one.reference, one.metric, one.region) == (reference, "RMSE", region) and one.value is not None
            ]
            assert table["RMSE"][region].value == pytest.approx(np.mean(values))
            assert table["RMSE"][region].n == len(values)


def test_cached_and_damaged_features_give_the_same_values(
    dataset: Dataset, labels: LabelSet, protocol: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    first = score_of(lambda case: case.lq, dataset, labels, protocol)
    assert score_of(lambda case: case.lq, dataset, labels, protocol) == first
    caches = sorted((tmp_path / "cache" / "features").glob("*.npz"))
    assert len(caches) == 3
    caches[0].write_bytes(caches[0].read_bytes()[:1000])
    caches[1].write_bytes(b"")
    assert score_of(lambda case: case.lq, dataset, labels, protocol) == first


@pytest.mark.parametrize(
    ("metric", "complaint"),
    [
        (Metric(name="LPIPS", metric="lpips"), "lpips"),
        (Metric(name="FID", metric="frechet"), "needs `features"),
        (Metric(name="RMSE2", metric="rmse", features="clip-random"), "takes no `features`"),
        (Metric(name="FID", metric="frechet", features="vgg"), "vgg"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_anything_runs(metric: Metric, complaint: str) -> None:
    protocol = load_protocol("phantom-mini")
    image = tuple(one for one in protocol.metrics if one.features is None)
    rank_by = msgspec.structs.replace(protocol.rank_by, metric="RMSE")
    with pytest.raises(UsageError, match=complaint):
        load_extractors(msgspec.structs.replace(protocol, metrics=(metric, *image), rank_by=rank_by), device="cpu")


def test_a_gate_must_be_an_error_of_images() -> None:
    protocol = load_protocol("phantom-mini")
    gate = msgspec.structs.replace(protocol.gate, metric="SSIM")
    with pytest.raises(UsageError, match=r"gate\.metric SSIM"):
        load_extractors(msgspec.structs.replace(protocol, gate=gate), device="cpu")


def test_patient_protocol_says_which_weights_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    monkeypatch.delenv("HARNESS_WEIGHTS", raising=False)
    with pytest.raises(UsageError, match="inception") as caught:
        load_extractors(load_protocol("patient-uldct"), device="cpu")
    assert "harness weights" in caught.value.fix


@FORMAT_WARNINGS
def test_patient_protocol_runs_on_the_authors_layout_with_published_formats(
    tmp_path: Path,
    dataset: Dataset,
    state_dict_file: Path,
    archive: Path,
    pin: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pin("inception", state_dict_file)
    pin("clip", archive)
    for case in dataset.cases:
        for kind, source in (("lq", case.lq), ("gt", case.gt)):
            write_grey(tmp_path / "data" / kind / f"{case.patient}_{case.name[-1]}.png", read_grey(Path(source)))
    monkeypatch.setenv("ULDCT_DATA", str(tmp_path / "data"))
    protocol = load_protocol("patient-uldct")
    assert isinstance(protocol.data, FolderData)
    pairs = load_data(protocol)
    assert {case.patient for case in pairs.cases} == {"p01", "p02", "p03"}
    labels = build_labels(pairs, protocol.purify)
    assert labels.consensus is not None
    card = score_of(lambda case: case.gt, pairs, labels, protocol)
    assert card.truth is None
    assert card.gate.reference == "label"
    assert set(card.extractors) == {"inception", "clip"}
    noisy = score_of(lambda case: case.lq, pairs, labels, protocol)
    assert card.label["FID"]["whole"].value < noisy.label["FID"]["whole"].value


def test_grey_levels_are_told_in_hu_where_the_window_is_known(
    dataset: Dataset, labels: LabelSet, protocol: Protocol
) -> None:
    only_rmse = msgspec.structs.replace(
        protocol,
        metrics=(Metric(name="RMSE", metric="rmse"), Metric(name="vessels", metric="vessel_contrast")),
        rank_by=RankBy(metric="RMSE"),
    )
    unknown = msgspec.structs.replace(dataset, window_hu=None)
    in_hu, in_grey = (
        score_of(lambda case: case.lq, data, labels, only_rmse).label["RMSE"] for data in (dataset, unknown)
    )
    assert (in_hu["lung"].unit, in_grey["lung"].unit) == ("HU", "grey")
    # The phantom's window, -1024 to 1200 HU, over 255 grey levels
    assert in_hu["lung"].value == pytest.approx(in_grey["lung"].value * 2224 / 255)
    assert set(score_of(lambda case: case.lq, dataset, labels, only_rmse).label["vessels"]) == {"lung"}


@pytest.mark.parametrize("name", ["inception-random", "efficientnet-lite0"])
def test_masked_regions_stand_beside_pooled_ones_and_do_not_leak(
    name: str, dataset: Dataset, labels: LabelSet, protocol: Protocol, tmp_path: Path
) -> None:
    """Noise in the background alone: the lung's masked distance does not move by a bit, the background's does.

    Which way a masked distance of so few small slices moves depends on the network: measured, inception-random's grows
    from 0.004 to 0.212, efficientnet-lite0's falls from 106 to 95.
    """
    both = msgspec.structs.replace(
        protocol,
        regions=("whole", "background", "lung"),
        metrics=(
            Metric(name="RMSE", metric="rmse"),
            Metric(name="FID", metric="frechet", features=name),
            Metric(name="FID masked", metric="frechet", features=name, definition="masked"),
            Metric(name="KID", metric="kernel", features=name),
            Metric(name="KID paired", metric="kernel_paired", features=name),
        ),
        rank_by=RankBy(metric="RMSE"),
    )
    for case in dataset.cases:
        image, background = read_grey(Path(case.lq)), shrink(labels.regions(case))["background"]
        noise = np.random.default_rng(1).integers(0, 60, image.shape)
        write_grey(tmp_path / f"{case.name}.png", np.where(background, noise, image).astype(np.uint8))
    extractors = load_extractors(both, device="cpu")
    assert [one.name for one in extractors] == [name]

    def table(folder: Path) -> Table:
        outputs = {case.name: folder / f"{case.name}.png" for case in dataset.cases}
        return score(outputs, dataset, labels, both, extractors=extractors).label

    clean, spoilt = table(Path(dataset.cases[0].lq).parent), table(tmp_path)
    change = {
        metric: {region: spoilt[metric][region].value - clean[metric][region].value for region in both.regions}
        for metric in ("FID", "FID masked", "KID", "KID paired")
    }
    assert all(change[metric]["whole"] != 0 for metric in change)
    assert change["KID paired"]["background"] > 100 * abs(change["KID paired"]["lung"])
    assert change["FID masked"]["lung"] == pytest.approx(0, abs=1e-9)
    assert abs(change["FID masked"]["background"]) > 0.05 * clean["FID masked"]["background"].value
    assert change["FID masked"]["whole"] == change["FID"]["whole"]  # nothing is masked there
    assert change["FID"]["background"] > 0
    assert abs(change["FID"]["lung"]) < 0.05 * change["FID"]["background"]
    assert spoilt["FID"]["lung"].value != spoilt["FID masked"]["lung"].value


def test_further_slices_give_further_tables(dataset: Dataset, labels: LabelSet, protocol: Protocol) -> None:
    """The scan in another breath stands for one more low-dose scan. Outputs that were handed in have none of it."""
    only_rmse = msgspec.structs.replace(
        protocol, metrics=(Metric(name="RMSE", metric="rmse"),), rank_by=RankBy(metric="RMSE")
    )
    again = tuple(
        FurtherSlice(name=f"{case.name}-again-1", lq=case.gt, pixel_mm=case.pixel_mm, of=case.name, kind="again")
        for case in dataset.cases
    )
    more = msgspec.structs.replace(dataset, further=again)
    outputs = {one.name: Path(one.lq) for one in more.shown}
    card = score(outputs, more, labels, only_rmse, extractors=[])
    assert list(card.further) == ["scans"]
    assert {name: set(regions) for name, regions in card.further["scans"].items()} == {
        name: set(protocol.regions) for name in (SYSTEMATIC, RANDOM)
    }
    assert card.further["scans"][RANDOM]["lung"].unit == "HU"
    handed_in = score({case.name: outputs[case.name] for case in dataset.cases}, more, labels, only_rmse, extractors=[])
    assert handed_in.further == {}
    assert handed_in.label == card.label


def test_metrics_in_hu_are_values_in_hu_with_intervals(
    dataset: Dataset, labels: LabelSet, protocol: Protocol, tmp_path: Path
) -> None:
    """Nothing scales them a second time, and a table has their unit. The outputs read one grey level too high."""
    named = {"bias": "bias", "muscle": "tissue_bias.muscle", "lung": "tissue_bias.lung", "RMSE": "rmse"}
    named |= {"Perc15": "densitometry.perc15_bias", "emphysema": "densitometry.emphysema_index_bias"}
    wanted = tuple(Metric(name=name, metric=metric) for name, metric in named.items())
    few = msgspec.structs.replace(protocol, metrics=wanted, rank_by=RankBy(metric="RMSE"))
    assert not load_extractors(few, device="cpu")
    outputs = {}
    for case in dataset.cases:
        outputs[case.name] = tmp_path / f"{case.name}.png"
        write_grey(outputs[case.name], np.minimum(read_grey(Path(str(case.truth))), 254) + np.uint8(1))
    table = score(outputs, dataset, labels, few, extractors=[]).truth
    assert table is not None
    grey = 2224 / 255
    for metric, region in (("bias", "lung"), ("lung", "lung"), ("Perc15", "lung"), ("muscle", "body")):
        found = table[metric][region]
        assert (found.unit, found.higher_is_better) == ("HU", None)
        assert found.value == pytest.approx(grey, abs=1e-6)
        assert found.low is not None
    assert set(table["muscle"]) == {"whole", "body"} & set(few.regions)
    assert table["emphysema"]["lung"].unit == "%"
    assert table["emphysema"]["lung"].value <= 0


@pytest.mark.parametrize("metric", ["tissue_bias.fat", "red_cnn.rmse"])
def test_a_metric_in_hu_is_refused_where_no_window_is_known(metric: str, tmp_path: Path) -> None:
    protocol = msgspec.structs.replace(
        load_protocol("phantom-mini"),
        data=FolderData(path=str(tmp_path)),
        metrics=(Metric(name="RMSE", metric="rmse"), Metric(name="mine", metric=metric)),
        rank_by=RankBy(metric="RMSE"),
    )
    with pytest.raises(
        UsageError, match=rf"metric mine \({metric}\) is computed in HU, but data.window_hu is not"
    ) as no:
        load_extractors(protocol, device="cpu")
    assert no.value.exit_code == 2
    assert "data.window_hu" in str(no.value.fix)
    known = msgspec.structs.replace(protocol, data=FolderData(path=str(tmp_path), window_hu=(-1024, 1200)))
    assert not load_extractors(known, device="cpu")


def test_nothing_is_ranked_by_a_descriptive_metric() -> None:
    protocol = load_protocol("phantom-mini")
    with pytest.raises(UsageError, match="descriptive"):
        load_extractors(msgspec.structs.replace(protocol, rank_by=RankBy(metric="noise")), device="cpu")


@pytest.mark.parametrize(("role", "name"), [("rank_by", "PSNR"), ("gate", "RMSE")])
def test_what_a_protocol_calls_descriptive_neither_ranks_nor_gates(role: str, name: str) -> None:
    protocol = msgspec.structs.replace(load_protocol("phantom-mini"), rank_by=RankBy(metric="PSNR"))
    metrics = tuple(msgspec.structs.replace(one, descriptive=one.name == name) for one in protocol.metrics)
    with pytest.raises(UsageError, match=rf"{role}\.metric {name} is descriptive"):
        load_extractors(msgspec.structs.replace(protocol, metrics=metrics), device="cpu")


def test_a_descriptive_metric_has_the_same_value_and_no_better_end(
    dataset: Dataset, labels: LabelSet, protocol: Protocol
) -> None:
    def table(descriptive: bool) -> Table:
        shown = Metric(name="PSNR", metric="psnr", descriptive=descriptive)
        metrics = (Metric(name="RMSE", metric="rmse"), shown)
        few = msgspec.structs.replace(protocol, metrics=metrics, rank_by=RankBy(metric="RMSE"))
        outputs = {case.name: Path(case.lq) for case in dataset.cases}
        return score(outputs, dataset, labels, few, extractors=[]).label

    usual, shown = table(False), table(True)
    assert {value.higher_is_better for value in usual["PSNR"].values()} == {True}
    assert {value.higher_is_better for value in shown["PSNR"].values()} == {None}
    assert shown["RMSE"] == usual["RMSE"]
    for region, value in shown["PSNR"].items():
        assert msgspec.structs.replace(value, higher_is_better=True) == usual["PSNR"][region]
