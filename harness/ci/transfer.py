"""Transfer: noisy slices go to the machine that runs containers, outputs come back to the machine that scores them.

The first needs no label and no secret seed, the second never runs a container. What comes back is data: it is read
strictly and compared with what the scoring machine knows itself. docs/ci.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from harness.base.digests import digest_json
from harness.base.errors import UsageError
from harness.base.files import atomic_folder, refuse_existing
from harness.base.png import Image, pixels_of
from harness.base.slices import read_slices, write_slices
from harness.base.structs import Strict, read_json, write_json
from harness.base.text import sanitise, shortened
from harness.dataset.cases import Acquisition, Dataset, FurtherKind, FurtherSlice, Inputs, NoisySlice
from harness.pipeline.container_run import RunOutcome
from harness.protocol import Protocol
from harness.records.encoding import check_failure, check_observed
from harness.records.observe import latest
from harness.records.schema import About, ProtocolFacts, SubmissionFacts, protocol_facts
from harness.run.outputs import read_folder
from harness.run.result import digest_outputs
from harness.submission.manifest import Takes

Images = Mapping[str, Image]

WRITE_INPUTS = "write the folder again: harness ci inputs"

RUN_BYTES = 1 << 20  # of run.json: most of it is the log, of 64 KiB


# -------------------------------------------------------------------------------- inputs
class _Listed(Strict, frozen=True, kw_only=True):
    name: str
    pixel_mm: float | None
    # younger: left out where nothing is known
    acquisition: Acquisition | UnsetType = UNSET
    series: str | UnsetType = UNSET
    position_mm: float | UnsetType = UNSET


class _ListedFurther(_Listed, frozen=True, kw_only=True):
    of: str
    kind: FurtherKind


class _InputsNote(Strict, frozen=True, kw_only=True):
    """`inputs.json` beside `lq/`: which protocol and test set the noisy slices belong to."""

    schema: Literal[1] = 1
    protocol: ProtocolFacts
    data: str  # the test set's digest
    slices: str  # digest of the noisy slices alone
    window_hu: tuple[float, float] | None
    bits: Literal[8, 16] | UnsetType = UNSET  # of a pixel; younger: left out where it is 8
    names_key: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{2}){1,64}$")] | None  # reveals nothing of the seed
    cases: tuple[_Listed, ...]
    further: tuple[_ListedFurther, ...] | UnsetType = UNSET  # younger: left out where there are none


def write_inputs(dataset: Dataset, protocol: Protocol, folder: Path) -> None:
    """Write the noisy slices of a protocol's test set, without any reference image, to the new folder `folder`."""
    slices = noisy_slices(dataset)
    note = _InputsNote(
        protocol=protocol_facts(protocol),
        data=dataset.digest,
        slices=digest_outputs(slices),
        window_hu=dataset.window_hu,
        bits=UNSET if dataset.bits == 8 else dataset.bits,
        names_key=None if dataset.names_key is None else dataset.names_key.hex(),
        cases=tuple(
            _Listed(
                name=case.name,
                pixel_mm=case.pixel_mm,
                acquisition=case.acquisition or UNSET,
                series=UNSET if case.series is None else case.series,
                position_mm=UNSET if case.position_mm is None else case.position_mm,
            )
            for case in dataset.cases
        ),
        further=tuple(
            _ListedFurther(name=one.name, pixel_mm=one.pixel_mm, of=one.of, kind=one.kind) for one in dataset.further
        )
        or UNSET,
    )
    refuse_existing(folder)
    with atomic_folder(folder) as part:
        (part / "lq").mkdir()
        write_slices(part / "lq", slices)
        write_json(part / "inputs.json", note)


def read_inputs(folder: Path, protocol: Protocol) -> Inputs:
    """The noisy slices that `write_inputs` wrote for this protocol; UsageError names what differs."""
    path = folder / "inputs.json"
    if not path.is_file():
        raise UsageError(f"{path}: no such file", fix="name a folder that harness ci inputs wrote")
    note = read_json(path, _InputsNote)
    _expect(path, "protocol", protocol_facts(protocol), note.protocol, fix=WRITE_INPUTS)
    cases, further = note.cases, note.further or ()
    _check_listed(path, cases, further)
    files = {one.name: str(folder / "lq" / f"{one.name}.png") for one in (*cases, *further)}
    _expect(folder / "lq", "digest of the slices", note.slices, digest_outputs(read_slices(files)), fix=WRITE_INPUTS)
    return Inputs(
        cases=tuple(
            NoisySlice(
                name=one.name,
                lq=files[one.name],
                pixel_mm=one.pixel_mm,
                acquisition=one.acquisition or None,
                series=None if one.series is UNSET else one.series,
                position_mm=None if one.position_mm is UNSET else one.position_mm,
            )
            for one in cases
        ),
        further=tuple(
            FurtherSlice(name=one.name, lq=files[one.name], pixel_mm=one.pixel_mm, of=one.of, kind=one.kind)
            for one in further
        ),
        window_hu=note.window_hu,
        bits=note.bits or 8,
        digest=note.data,
        names_key=None if note.names_key is None else bytes.fromhex(note.names_key),
    )


def _check_listed(path: Path, cases: Sequence[_Listed], further: Sequence[_ListedFurther]) -> None:
    """Refuse a list by which a container might see two images of one plane, or a file from elsewhere: names that repeat
    or are paths, planes of no case."""
    odd = [one.name for one in (*cases, *further) if Path(one.name).name != one.name or not one.name.isprintable()]
    _expect(path, "names that are none of a file", [], odd, fix=WRITE_INPUTS)
    names = Counter(one.name for one in (*cases, *further))
    repeated = sorted(name for name, count in names.items() if count > 1)
    _expect(path, "names that repeat", [], repeated, fix=WRITE_INPUTS)
    known = {one.name for one in cases}
    strays = [one.name for one in further if one.of not in known]
    _expect(path, "further slices of no case", [], strays, fix=WRITE_INPUTS)


def noisy_slices(inputs: Inputs) -> Images:
    """All slices that containers see, (height, width), by name."""
    return read_slices({one.name: one.lq for one in inputs.shown})


# -------------------------------------------------------------------------------- outputs
class TransferredRun(RunOutcome, frozen=True, kw_only=True):
    """`run.json` beside `outputs/`: what became of a submission's run, on which slices, with a digest of the file.

    The digest reveals damage. It is no signature: whoever controls the machine that ran the container also made the
    outputs.
    """

    schema: Literal[1] = 1
    protocol: ProtocolFacts
    data: str
    slices: str  # digest of the noisy slices that the container read
    digest: str = ""


def write_run(
    folder: Path, outcome: RunOutcome, outputs: Mapping[str, str], *, inputs: Inputs, protocol: Protocol
) -> TransferredRun:
    """Write a run and its verified outputs (slice -> PNG; none if it failed) to the new folder `folder`."""
    run = TransferredRun(
        **{name: getattr(outcome, name) for name in RunOutcome.__struct_fields__},
        protocol=protocol_facts(protocol),
        data=inputs.digest,
        slices=digest_outputs(noisy_slices(inputs)),
    )
    # as it will be read back: an int in the place of a float has another digest
    run = msgspec.convert(msgspec.to_builtins(run), TransferredRun)
    run = msgspec.structs.replace(run, digest=_digest(run))
    refuse_existing(folder)
    with atomic_folder(folder) as part:
        if outcome.failure is None:
            (part / "outputs").mkdir()
            write_slices(part / "outputs", read_slices(outputs))
        write_json(part / "run.json", run)
    return run


def read_run(
    folder: Path, *, submission: SubmissionFacts, about: About, takes: Takes, dataset: Dataset, protocol: Protocol
) -> tuple[TransferredRun, Images]:
    """The run in a folder and its outputs, (height, width) by slice; no outputs if it failed.

    UsageError names what is missing, damaged, or of another submission, protocol or test set; OutputsError what is
    wrong with an output.
    """
    path = folder / "run.json"
    there = sorted(one.name for one in folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []
    if not set(there) <= {"run.json", "outputs"} or "run.json" not in there or path.is_symlink():
        raise UsageError(
            f"{folder}: expected run.json and outputs/, found {shown(there)}",
            fix="give a folder that harness ci run wrote",
        )
    run = read_json(path, TransferredRun, at_most=RUN_BYTES)
    slices = noisy_slices(dataset)
    for what, expected, found in (
        ("digest", _digest(run), run.digest),
        ("submission", submission, run.submission),
        ("about", about, run.observed.about),
        ("takes", takes, run.takes),
        ("protocol", protocol_facts(protocol), run.protocol),
        ("data", dataset.digest, run.data),
        ("slices", digest_outputs(slices), run.slices),
    ):
        _expect(path, what, expected, found, fix="give what harness ci run wrote for these commits")
    check_observed(run.observed, path)
    if run.observed.date > latest():
        raise UsageError(f"{path}: dated {run.observed.date}, in the future", fix="set that machine's clock")
    own = msgspec.structs.replace(run.observed, about=None)  # a submission's own words are compared with its manifest's
    if any(sanitise(text) != text for text in _texts(msgspec.to_builtins([own, run.failure]))):
        raise UsageError(
            f"{path}: contains control characters or CI commands, which the harness never writes",
            fix="do not edit the file; run harness ci run again",
        )
    if run.failure is not None:
        check_failure(run.failure, path)
        _expect(path, "files of a failed run", ["run.json"], there, fix="remove outputs/: a failed run has none")
        return run, {}
    if (folder / "outputs").is_symlink():
        raise UsageError(f"{folder / 'outputs'}: is a symbolic link, expected a folder", fix="give the folder itself")
    sizes = {name: (pixels.shape[0], pixels.shape[1]) for name, pixels in slices.items()}
    outputs = pixels_of(read_folder(folder / "outputs", sizes=sizes, bits=dataset.bits))
    _expect(
        folder / "outputs",
        "digest of the outputs",
        run.outputs,
        digest_outputs(outputs),
        fix="run harness ci run again",
    )
    return run, outputs


def _texts(value: Any) -> Iterator[str]:
    """Every text in plain data, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


def _digest(run: TransferredRun) -> str:
    return digest_json(msgspec.structs.replace(run, digest=""))


def _expect(where: Path, what: str, expected: Any, found: Any, *, fix: str) -> None:
    if expected != found:
        raise UsageError(f"{where}: {what}: expected {shown(expected)}, found {shown(found)}", fix=fix)


def shown(value: Any) -> str:
    """A value of a handover, which may be a stranger's, for a message."""
    return shortened(ascii(msgspec.to_builtins(value)), 600)
