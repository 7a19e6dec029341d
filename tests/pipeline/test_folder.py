"""Handed-in outputs where a test set has further slices: the cases alone or all, and what the audit takes of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import harness.pipeline.prepare as preparing
from harness.base.errors import OutputsError
from harness.base.progress import Quiet
from harness.base.slices import read_grey
from harness.base.structs import read_yaml
from harness.dataset.cases import Dataset, FurtherSlice, Inputs
from harness.pipeline.folder import evaluate_folder
from harness.pipeline.noisy_input import noisy_scores
from harness.pipeline.prepare import Benchmark, prepare
from harness.protocol import Protocol, Purify
from harness.run.outputs import output_files
from harness.run.result import digest_outputs
from tests.small import small_protocol

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Benchmark]:
    """Two slices, each with another scan of its plane."""
    folder = tmp_path_factory.mktemp("folder")
    (folder / "p.yaml").write_text(small_protocol())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(folder / "cache"))
        made = prepare(read_yaml(folder / "p.yaml", Protocol), Quiet(), leaderboard=folder / "lb", writes=False)
        cases = made.dataset.cases
        further = tuple(FurtherSlice(name=f"{one.name}-again", lq=one.lq, of=one.name, kind="again") for one in cases)
        yield msgspec.structs.replace(made, dataset=msgspec.structs.replace(made.dataset, further=further))


def hand_in(folder: Path, slices: Inputs, names: list[str]) -> Path:
    folder.mkdir()
    for one in slices.shown:
        if one.name in names:
            shutil.copy(one.lq, folder / f"{one.name}.png")
    return folder


def test_the_cases_alone_or_all_slices_are_taken(tmp_path: Path, benchmark: Benchmark) -> None:
    dataset = benchmark.dataset
    for shown, notes in ((dataset.cases, 1), (dataset.shown, 0)):
        told = Quiet()
        folder = hand_in(tmp_path / f"{len(shown)}", dataset, [one.name for one in shown])
        record, _ = evaluate_folder(folder, benchmark, told, slug="mine", keep=False)
        assert record.result.status == "scored"
        assert record.result.outputs == digest_outputs({one.name: read_grey(Path(one.lq)) for one in shown})
        said = [note for note in told.notes if "further slices" in note]
        assert len(said) == notes
        assert (
            noisy_scores(record.result, benchmark, told)["label"] == record.result.metrics
        )  # to the last digit: no difference
        # the audit of such a record reads the same files
        assert output_files(folder, dataset) == {one.name: folder / f"{one.name}.png" for one in shown}


def test_a_part_of_the_further_slices_is_refused_by_name(tmp_path: Path, benchmark: Benchmark) -> None:
    dataset = benchmark.dataset
    first, second = dataset.further
    folder = hand_in(tmp_path / "part", dataset, [*(one.name for one in dataset.cases), first.name])
    with pytest.raises(OutputsError) as caught:
        evaluate_folder(folder, benchmark, Quiet(), slug="mine", keep=False)
    assert f"1 missing: {second.name}.png" in caught.value.message


def test_a_wrong_folder_is_spoken_of_as_a_folder(tmp_path: Path, benchmark: Benchmark) -> None:
    folder = hand_in(tmp_path / "empty", benchmark.dataset, [])
    with pytest.raises(OutputsError) as caught:
        evaluate_folder(folder, benchmark, Quiet(), slug="mine", keep=False)
    assert f"{folder} is empty" in caught.value.message
    for word in ("/output", "HARNESS_OUTPUT", "container"):
        assert word not in caught.value.message.removeprefix(str(folder)) + caught.value.fix


def test_a_weak_denoiser_in_a_container_sees_the_cases_alone(
    tmp_path: Path, benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Seen(Exception):
        pass

    def run(_weak: object, dataset: Inputs, *_: object, **__: object) -> None:
        assert (dataset.shown, dataset.digest) == (benchmark.dataset.cases, benchmark.dataset.digest)
        raise Seen

    def data(*_: object, **__: object) -> Dataset:
        return benchmark.dataset

    monkeypatch.setattr(preparing, "prepare_data", data)
    monkeypatch.setattr(preparing, "run_submission", run)
    purify = Purify(weak_denoiser=str(ROOT / "submissions" / "median"))
    protocol = msgspec.structs.replace(benchmark.protocol, purify=purify)
    with pytest.raises(Seen):
        preparing.prepare_labels(protocol, Quiet(), leaderboard=tmp_path, engine=object())  # type: ignore[arg-type]
