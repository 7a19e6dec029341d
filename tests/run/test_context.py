"""Neighbours and whole series, for submissions that ask for them."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.base.errors import UsageError
from harness.base.progress import Reporter
from harness.base.slices import read_grey, write_grey
from harness.base.structs import read_yaml
from harness.dataset.cases import FurtherSlice, Inputs, NoisySlice
from harness.engines import Engine
from harness.pipeline.container_run import run_container
from harness.protocol import load_protocol
from harness.run.context import Told, context_note, refuse_unordered, told
from harness.run.execute import run_submission
from harness.run.staging import rounds_of
from harness.sandbox import Limits
from harness.submission.manifest import Context, Manifest, Submission, load_submission

MANIFEST = 'schema: 1\nname: T\nversion: "1"\nauthors: [T]\nimage: {build: .}\n'
LIMITS = Limits(wall_s=60, memory_gb=0.5, cpus=2, shm_gb=0.01, tmp_gb=0.05, pids=60)


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))


# Of each series the positions of its cases, all known or none, among which are equal ones, and how many images of each
# plane there are.
COUNTS = st.integers(1, 3)
PLACED = st.lists(st.tuples(st.integers(-4, 8).map(lambda step: step * 0.7), COUNTS))
SERIES = PLACED | st.lists(st.tuples(st.none(), COUNTS))


@st.composite
def inputs(draw: st.DrawFn) -> Inputs:
    listed = [
        (f"p{number}", position, images)
        for number, members in enumerate(draw(st.lists(SERIES, min_size=1, max_size=4)))
        for position, images in members
    ]
    listed = draw(st.permutations(listed))
    cases = tuple(
        NoisySlice(name=f"c{number}", lq="", series=series, position_mm=position)
        for number, (series, position, _) in enumerate(listed)
    )
    further = tuple(
        FurtherSlice(name=f"c{number}-{more}", lq="", of=f"c{number}", kind="again")
        for number, (_, _, images) in enumerate(listed)
        for more in range(1, images)
    )
    return Inputs(cases=cases, further=further, window_hu=None, digest="d", names_key=b"k")


def series_in_order(dataset: Inputs, shown: dict[str, NoisySlice]) -> list[list[tuple[str, float | None]]]:
    """Of each series the names shown and their positions, in order."""
    cases = {case.name: case for case in dataset.cases}
    found: dict[str | None, list[tuple[str, float | None]]] = {}
    for case in dataset.cases:
        for name, one in shown.items():
            if one.plane == case.name:
                found.setdefault(case.series, []).append((name, cases[one.plane].position_mm))
    in_order: list[list[tuple[str, float | None]]] = []
    for members in found.values():
        known = [(position, name) for name, position in members if position is not None]
        in_order.append([(name, position) for position, name in sorted(known)] or members)
    return in_order


@given(inputs(), st.integers(1, 8))
def test_neighbours_are_the_next_planes_of_the_series(dataset: Inputs, count: int) -> None:
    for shown in rounds_of(dataset, complete=True):
        found = told(count, dataset, shown).cases
        assert set(found) == set(shown)
        for members in series_in_order(dataset, shown):
            # no plane twice: neither two images of a case nor two cases at one position
            places = [position for _, position in members if position is not None]
            assert all(low < high for low, high in pairwise(places))
            padded = [(None, None)] * count + members + [(None, None)] * count
            for at, (name, position) in enumerate(members):
                around = padded[at : at + count] + padded[at + count + 1 : at + 2 * count + 1]
                assert found[name]["neighbours"] == [None if one is None else f"{one}.png" for one, _ in around]
                assert found[name]["spacing_mm"] == [
                    None if place is None or position is None else pytest.approx(abs(place - position), abs=1e-3)
                    for _, place in around
                ]
                assert 0 not in found[name]["spacing_mm"]


@given(inputs())
def test_every_slice_shown_is_in_one_series_in_order(dataset: Inputs) -> None:
    for shown in rounds_of(dataset, complete=True):
        listed = told("series", dataset, shown).whole["series"]
        expected = series_in_order(dataset, shown)
        assert sorted(one["cases"] for one in listed) == sorted([name for name, _ in one] for one in expected)
        assert Counter(name for one in listed for name in one["cases"]) == Counter(list(shown))
        assert [one["cases"][0] for one in listed] == sorted(one["cases"][0] for one in listed)
        for one in expected:
            (found,) = (other["position_mm"] for other in listed if other["cases"][0] == one[0][0])
            first = one[0][1]
            assert found == (
                None
                if first is None
                else [pytest.approx(place - first, abs=1e-3) for _, place in one if place is not None]
            )


def test_a_series_with_an_unknown_position_is_in_the_order_of_the_data() -> None:
    cases = tuple(
        NoisySlice(name=name, lq="", series="p", position_mm=place)
        for name, place in (("a", 3.0), ("b", None), ("c", 1.0))
    )
    dataset = Inputs(cases=cases, window_hu=None, digest="d", names_key=b"k")
    (shown,) = rounds_of(dataset, complete=True)
    a, b, c = ({one.name: name for name, one in shown.items()}[name] for name in "abc")
    assert told("series", dataset, shown).whole == {"series": [{"cases": [a, b, c], "position_mm": None}]}
    assert told(1, dataset, shown).cases[b] == {"neighbours": [f"{a}.png", f"{c}.png"], "spacing_mm": [None, None]}


@given(inputs())
def test_without_context_nothing_is_told(dataset: Inputs) -> None:
    assert [told(None, dataset, shown) for shown in rounds_of(dataset)] == [Told({}, {})] * len(rounds_of(dataset))


def test_cases_of_a_series_at_one_position_are_never_shown_together() -> None:
    cases = tuple(
        NoisySlice(name=name, lq="", series=series, position_mm=position)
        for name, series, position in (("a", "p", 1.0), ("b", "p", 1.001), ("c", "p", 1.02), ("d", "q", 1.0))
    )
    dataset = Inputs(cases=cases, window_hu=None, digest="d", names_key=b"k")
    assert {name: [one.name for one in images] for name, images in dataset.planes().items()} == {
        "a": ["a", "b"], "c": ["c"], "d": ["d"],
    }  # fmt: skip
    assert [len(each) for each in rounds_of(dataset)] == [3, 1]
    assert [len(each) for each in rounds_of(dataset, complete=True)] == [3, 3]


# -------------------------------------------------------------------------------- what people read
@pytest.mark.parametrize(
    ("context", "said"),
    [
        (None, ""),
        (1, "sees 1 neighbour on each side of each slice"),
        (2, "sees 2 neighbours on each side of each slice"),
        ("series", "sees the whole series of each slice"),
    ],
)
def test_the_note_says_what_is_seen(context: Context | None, said: str) -> None:
    assert context_note(context, coupled=False) == said
    doubtful = "the noise of neighbouring slices is independent" in context_note(context, coupled=True)
    assert doubtful == (context is not None)


def test_data_without_order_are_refused_by_the_protocols_name(tmp_path: Path) -> None:
    dataset = Inputs(cases=(NoisySlice(name="a", lq=""),), window_hu=None, digest="d")
    refuse_unordered(None, dataset, protocol="mine-1")
    protocol, no_engine, no_reporter = load_protocol("phantom-mini"), cast(Engine, None), cast(Reporter, None)
    with pytest.raises(UsageError, match=f"context: series, but the data of protocol {protocol.identity} do not say"):
        run_container(submission(tmp_path / "t", "series"), dataset, protocol, engine=no_engine, reporter=no_reporter)


@pytest.mark.parametrize("context", ["0", "9", "all", '"1"', "1.5", "true"])
def test_the_manifest_takes_1_to_8_or_series(tmp_path: Path, context: str) -> None:
    path = tmp_path / "submission.yaml"
    path.write_text(f"{MANIFEST}context: {context}\n")
    with pytest.raises(UsageError, match="context") as caught:
        read_yaml(path, Manifest)
    assert caught.value.fix
    for right in (1, 8, "series"):
        path.write_text(f"{MANIFEST}context: {right}\n")
        assert read_yaml(path, Manifest).context == right


# -------------------------------------------------------------------------------- in containers
PROGRAM = """
import json
from pathlib import Path
import numpy as np
from PIL import Image
source = Path("/input")
manifest = json.loads((source / "manifest.json").read_text())
read = lambda file: np.asarray(Image.open(source / file), dtype=float)
write = lambda file, image: Image.fromarray(np.uint8(image.round())).save(Path("/output") / file)
for case in manifest["cases"]:
    if "neighbours" in case:  # the mean of the slice and its neighbours
        there = [file for file in case["neighbours"] if file is not None]
        write(case["file"], np.mean([read(case["file"]), *map(read, there)], axis=0))
for series in manifest.get("series", []):  # the mean of the volume with one shifted along the axis, by position
    at = np.array(series["position_mm"])
    volume = np.stack([read(f"{name}.png") for name in series["cases"]])
    for name, place in zip(series["cases"], at):
        weights = np.exp(-np.abs(at - place) / 5)
        write(f"{name}.png", np.tensordot(weights / weights.sum(), volume, axes=1))
"""
HEIGHTS = {"p": [20.0, -3.0, 1.5, 9.0], "q": [0.0, 4.0]}


def dataset_of(folder: Path) -> Inputs:
    """Two series, of which one is not listed in order; its third plane has a further image."""
    rng = np.random.default_rng(18)

    def written(name: str) -> str:
        write_grey(folder / f"{name}.png", rng.integers(0, 256, (20, 24), dtype=np.uint8))
        return str(folder / f"{name}.png")

    cases = tuple(
        NoisySlice(name=f"{series}{number}", lq=written(f"{series}{number}"), series=series, position_mm=place)
        for series, places in HEIGHTS.items()
        for number, place in enumerate(places)
    )
    further = (FurtherSlice(name="p2-again", lq=written("p2-again"), of="p2", kind="again"),)
    return Inputs(cases=cases, further=further, window_hu=None, digest="volumes", names_key=b"k" * 32)


def submission(folder: Path, context: Context) -> Submission:
    folder.mkdir()
    (folder / "denoise.py").write_text(PROGRAM)
    (folder / "Dockerfile").write_text(
        'ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY denoise.py /\nCMD ["python3", "/denoise.py"]\n'
    )
    (folder / "submission.yaml").write_text(f"{MANIFEST}context: {context}\n")
    return load_submission(folder)


Volume = dict[str, NDArray[np.float64]]


def volumes(dataset: Inputs) -> dict[str, Volume]:
    """Of each image the slices of its series that are shown with it, by case, and itself in the place of its case."""
    images = {one.name: read_grey(Path(one.lq)).astype(float) for one in dataset.shown}
    # which image of p2 its neighbours see is up to the key: that of the first run
    first = {one.plane: one.name for one in rounds_of(dataset)[0].values()}
    found = {}
    for one in dataset.shown:
        series = {f"{one.name[0]}{number}": place for number, place in enumerate(HEIGHTS[one.name[0]])}
        found[one.name] = {case: images[first[case]] for case in series} | {one.plane: images[one.name]}
    return found


@pytest.mark.engine
def test_a_submission_sees_its_neighbours_or_its_series(tmp_path: Path, engine: Engine) -> None:
    dataset = dataset_of(tmp_path / "lq")
    between = run_submission(submission(tmp_path / "between", 1), dataset, LIMITS, seed=1, engine=engine)
    whole = run_submission(submission(tmp_path / "whole", "series"), dataset, LIMITS, seed=1, engine=engine)
    neighbours = {"p1": ["p2"], "p2": ["p1", "p3"], "p3": ["p2", "p0"], "p0": ["p3"], "q0": ["q1"], "q1": ["q0"]}
    for one in dataset.shown:
        volume = volumes(dataset)[one.name]
        near = [volume[one.plane], *(volume[name] for name in neighbours[one.plane])]
        np.testing.assert_array_equal(read_grey(Path(between.outputs[one.name])), np.mean(near, axis=0).round())
        heights = np.array(HEIGHTS[one.name[0]])
        weights = np.exp(-np.abs(heights - heights[int(one.plane[1])]) / 5)
        expected = np.tensordot(weights / weights.sum(), np.stack(list(volume.values())), axes=1).round()
        # sums in another order may round to another level
        off = np.abs(read_grey(Path(whole.outputs[one.name])) - expected)
        assert off.max() <= 1
        assert np.mean(off > 0) < 0.01
    # each of two runs showed all six planes
    assert between.costs.times.seconds_per_slice == pytest.approx(between.costs.times.run_s / 12)
    # a kept run is that of the same order alone
    moved = msgspec.structs.replace(dataset.cases[0], position_mm=-9.0)
    elsewhere = msgspec.structs.replace(dataset, cases=(moved, *dataset.cases[1:]))
    runs = [
        run_submission(load_submission(tmp_path / "between"), data, LIMITS, seed=1, engine=engine)
        for data in (dataset, elsewhere)
    ]
    assert [run.reused for run in runs] == [True, False]
    assert runs[1].outputs_digest != between.outputs_digest
