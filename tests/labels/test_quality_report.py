"""The audit on a tiny phantom: labels whose worth is known beforehand."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from harness.base.errors import UsageError
from harness.base.structs import canonical_json
from harness.dataset.cases import Dataset
from harness.dataset.load import load_data
from harness.features import Extractor, Output
from harness.labels.acceptance_gates import ACCEPTANCE_GATES
from harness.labels.battery import BATTERY
from harness.labels.quality_report import NEEDS_TRUTH, QualityReport, assess_labels
from harness.labels.report_tables import markdown, tables
from harness.protocol import Metric, PhantomData, Purify, load_protocol

KID = Metric(name="KID", metric="kernel", features="moments")


def _moments(images: NDArray[np.uint8]) -> Output:
    """Means and deviations of rows: enough of a feature to tell more noise from less."""
    rows = [np.concatenate([image.mean(1), np.diff(image.astype(np.float32)).std(1)]) for image in images]
    features: NDArray[np.float32] = (np.stack(rows) / 255).astype(np.float32)
    return Output(features, None)


MOMENTS = Extractor(
    name="moments", digest="0", dimension=256, grid=None, note="test", prepare=np.asarray, forward=_moments
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    protocol = load_protocol("phantom-mini")
    data = PhantomData(patients=3, slices=2, size=128, dose=0.005, seed=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        return load_data(msgspec.structs.replace(protocol, data=data))


@pytest.fixture(scope="module")
def found(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[QualityReport, list[tuple[int, int]]]:
    """An audit of nlm's labels beside those of a perfect and of a useless denoiser, and its progress."""
    told: list[tuple[int, int]] = []
    outputs = {
        "perfect": {case.name: Path(str(case.truth)) for case in dataset.cases},
        "noisy input": {case.name: Path(case.lq) for case in dataset.cases},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        result = assess_labels(
            dataset,
            Purify(),
            weak=(),
            outputs=outputs,
            metric=KID,
            extractor=MOMENTS,
            progress=lambda *done: told.append(done),
        )
    return result, told


def test_the_asked_label_comes_first_and_all_are_measured(found: tuple[QualityReport, list[tuple[int, int]]]) -> None:
    result, _ = found
    assert [one.weak for one in result.labels] == ["nlm", "perfect", "noisy input"]
    assert (result.slices, result.patients, result.denoisers) == (6, 3, tuple(BATTERY))
    for one in result.labels:
        assert set(one.gates) == set(ACCEPTANCE_GATES)
        assert set(one.rankings) == {"RMSE lung", "KID whole"}
        for ranking in one.rankings.values():
            assert sorted(ranking.ranks.values()) == list(range(1, len(BATTERY) + 1))


def test_gates_of_known_labels(found: tuple[QualityReport, list[tuple[int, int]]]) -> None:
    nlm, perfect, raw = (one.gates for one in found[0].labels)
    # The label's lung is the truth wherever the mask is: no bias, no noise left; its noise gate fails by definition.
    # Where only one of both slices is dark the published mask is 255 of 255, where both are 254: 1/255 is normal dose.
    assert perfect["noise cut"].mean == pytest.approx(1, abs=0.02)
    assert perfect["noise cut"].passed is False
    assert perfect["bias"].mean == pytest.approx(0, abs=0.1)
    assert perfect["bias"].passed is True
    assert raw["noise cut"].mean == pytest.approx(0, abs=0.02)
    assert raw["noise cut"].passed is False
    assert nlm["noise cut"].mean is not None
    assert 0.2 < nlm["noise cut"].mean < 0.8
    for gate in nlm.values():
        assert gate.mean is None or (gate.least is not None and gate.most is not None)
        assert gate.mean is None or gate.least <= gate.mean <= gate.most  # type: ignore[operator]


def test_the_truth_as_label_ranks_as_the_truth_and_the_input_as_label_does_not(
    found: tuple[QualityReport, list[tuple[int, int]]],
) -> None:
    _, perfect, raw = (one.rankings["RMSE lung"] for one in found[0].labels)
    assert perfect.tau is not None
    assert raw.tau is not None
    assert perfect.tau.value > 0.9  # 1 but for lung that both slices' masks miss
    assert raw.tau.value < 0.5
    # by the input itself the input is best, and no change at all is the best denoiser
    assert raw.ranks["noisy input"] == 1


def test_a_weak_denoiser_wins_by_its_own_label(found: tuple[QualityReport, list[tuple[int, int]]]) -> None:
    nlm = found[0].labels[0].rankings["RMSE lung"]
    assert nlm.ranks["nlm"] == 1
    assert nlm.tau is not None
    assert nlm.tau_all is not None
    assert nlm.tau.n == nlm.tau_all.n == 6
    assert nlm.tau.low is not None
    assert -1 <= nlm.tau.low <= nlm.tau.value


def test_progress_runs_to_its_end(found: tuple[QualityReport, list[tuple[int, int]]]) -> None:
    _, told = found
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1]
    assert len({total for _, total in told}) == 1


def test_it_is_plain_data_and_readable(found: tuple[QualityReport, list[tuple[int, int]]]) -> None:
    result, _ = found
    assert msgspec.json.decode(canonical_json(result), type=QualityReport) == result
    gates, by_rmse, by_kid = tables(result)
    assert len(gates.rows) == len(ACCEPTANCE_GATES)
    assert len(by_rmse.rows) == len(by_kid.rows) == len(BATTERY) + 2
    assert [row[1] for row in by_rmse.rows[: len(BATTERY)]] == [str(i + 1) for i in range(len(BATTERY))]
    text = markdown(result)
    assert "| nlm | perfect | noisy input |" in text
    assert "FAIL" in text


def test_without_truth_what_needs_it_is_null(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    cases = tuple(msgspec.structs.replace(case, truth=None) for case in dataset.cases[:1])
    # remove background has no weak denoiser: one label set, with the input's noise in it
    result = assess_labels(Dataset(cases=cases, window_hu=dataset.window_hu, digest="d"), Purify(strategy="rb"))
    assert result.truth is None
    (labels,) = result.labels
    assert labels.weak == "rb"
    for name, gate in labels.gates.items():
        assert (gate.passed is None and gate.reason == NEEDS_TRUTH) == ACCEPTANCE_GATES[name].needs_truth
    assert labels.gates["noise cut"].mean == pytest.approx(0, abs=0.02)
    ranking = labels.rankings["RMSE lung"]
    assert ranking.tau is None
    assert set(ranking.ranks) == set(BATTERY)
    assert len(tables(result)) == 1


def test_a_distance_without_its_extractor_is_refused(dataset: Dataset) -> None:
    with pytest.raises(UsageError, match="KID"):
        assess_labels(dataset, Purify(), metric=KID)


def test_nothing_is_ranked_by_what_a_protocol_calls_descriptive(dataset: Dataset) -> None:
    shown = Metric(name="PSNR", metric="psnr", descriptive=True)
    with pytest.raises(UsageError, match="PSNR is descriptive"):
        assess_labels(dataset, Purify(), metric=shown)
