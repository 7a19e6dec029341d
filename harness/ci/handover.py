"""Handover: noisy slices to the machine that runs containers, and outputs from there to the machine that scores them.

The one needs no label and no secret seed, the other never runs a container. What comes back is data: read strictly, and
held against what the scoring machine knows itself. docs/ci.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.base.digests import digest_json
from harness.base.errors import UsageError
from harness.base.files import atomic_folder, refuse_existing
from harness.base.slices import read_slices, write_slices
from harness.base.structs import Strict, read_json, write_json
from harness.base.text import sanitise, shortened
from harness.dataset.cases import Dataset, Inputs, NoisySlice
from harness.pipeline.attempt import Attempt
from harness.protocol import Protocol
from harness.records.schema import About, ProtocolFacts, SubmissionFacts, protocol_facts
from harness.run.outputs import read_folder
from harness.run.result import digest_outputs
from harness.run.untrusted_png import pixels_of

Images = Mapping[str, NDArray[np.uint8]]

AGAIN = "make it again: harness ci inputs"


# -------------------------------------------------------------------------------- inputs
class _Listed(Strict, frozen=True, kw_only=True):
    name: str
    pixel_mm: float | None


class _InputsNote(Strict, frozen=True, kw_only=True):
    """`inputs.json` beside `lq/`: the noisy slices of a protocol, and of what test set they are."""

    schema: Literal[1] = 1
    protocol: ProtocolFacts
    data: str  # the test set's digest
    slices: str  # digest of the noisy slices alone
    window_hu: tuple[float, float] | None
    names_key: str | None  # hex; says nothing of the seed
    cases: tuple[_Listed, ...]


def write_inputs(dataset: Dataset, protocol: Protocol, folder: Path) -> None:
    """Write the noisy slices of a protocol's test set, and nothing that is an answer, to the new folder `folder`."""
    slices = noisy_slices(dataset)
    note = _InputsNote(
        protocol=protocol_facts(protocol),
        data=dataset.digest,
        slices=digest_outputs(slices),
        window_hu=dataset.window_hu,
        names_key=None if dataset.names_key is None else dataset.names_key.hex(),
        cases=tuple(_Listed(name=case.name, pixel_mm=case.pixel_mm) for case in dataset.cases),
    )
    refuse_existing(folder)
    with atomic_folder(folder) as part:
        (part / "lq").mkdir()
        write_slices(part / "lq", slices)
        write_json(part / "inputs.json", note)


def read_inputs(folder: Path, protocol: Protocol) -> Inputs:
    """The noisy slices that `write_inputs` wrote for this very protocol; UsageError says what differs."""
    path = folder / "inputs.json"
    if not path.is_file():
        raise UsageError(f"{path}: no such file", fix="harness ci inputs writes such a folder")
    note = read_json(path, _InputsNote)
    _expect(path, "protocol", protocol_facts(protocol), note.protocol, fix=AGAIN)
    files = {one.name: str(folder / "lq" / f"{one.name}.png") for one in note.cases}
    _expect(folder / "lq", "digest of the slices", note.slices, digest_outputs(read_slices(files)), fix=AGAIN)
    return Inputs(
        cases=tuple(NoisySlice(name=one.name, lq=files[one.name], pixel_mm=one.pixel_mm) for one in note.cases),
        window_hu=note.window_hu,
        digest=note.data,
        names_key=None if note.names_key is None else bytes.fromhex(note.names_key),
    )


def noisy_slices(inputs: Inputs) -> Images:
    """The noisy slices by case, uint8 (height, width)."""
    return read_slices({case.name: case.lq for case in inputs.cases})


# -------------------------------------------------------------------------------- outputs
class Handover(Attempt, frozen=True, kw_only=True):
    """`run.json` beside `outputs/`: what became of a submission's run, on what, with the digest of all that it says.

    The digest shows damage. It is no signature: whoever rules the machine that ran the container made the outputs, too.
    """

    schema: Literal[1] = 1
    protocol: ProtocolFacts
    data: str
    slices: str  # digest of the noisy slices that it was given
    digest: str = ""


def write_handover(
    folder: Path, tried: Attempt, outputs: Mapping[str, str], *, inputs: Inputs, protocol: Protocol
) -> Handover:
    """Write an attempt and its verified outputs (case -> PNG; none if it failed) to the new folder `folder`."""
    handover = Handover(
        **{name: getattr(tried, name) for name in Attempt.__struct_fields__},
        protocol=protocol_facts(protocol),
        data=inputs.digest,
        slices=digest_outputs(noisy_slices(inputs)),
    )
    # as it will be read: an int that stands for a float digests to something else
    handover = msgspec.convert(msgspec.to_builtins(handover), Handover)
    handover = msgspec.structs.replace(handover, digest=_digest(handover))
    refuse_existing(folder)
    with atomic_folder(folder) as part:
        if tried.failure is None:
            (part / "outputs").mkdir()
            write_slices(part / "outputs", read_slices(outputs))
        write_json(part / "run.json", handover)
    return handover


def read_handover(
    folder: Path, *, submission: SubmissionFacts, about: About, dataset: Dataset, protocol: Protocol
) -> tuple[Handover, Images]:
    """The attempt that a folder holds and its outputs, uint8 (height, width) by case; none where it failed.

    UsageError names what is missing, damaged, or not of this submission, protocol and test set; OutputsError what is
    wrong with an output.
    """
    path = folder / "run.json"
    there = sorted(one.name for one in folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []
    if not set(there) <= {"run.json", "outputs"} or "run.json" not in there or path.is_symlink():
        raise UsageError(f"{folder}: expected run.json and outputs/, found {there!a}", fix="harness ci run writes both")
    handover = read_json(path, Handover)
    slices = noisy_slices(dataset)
    for what, expected, found in (
        ("digest", _digest(handover), handover.digest),
        ("submission", submission, handover.submission),
        ("about", about, handover.observed.about),
        ("protocol", protocol_facts(protocol), handover.protocol),
        ("data", dataset.digest, handover.data),
        ("slices", digest_outputs(slices), handover.slices),
    ):
        _expect(path, what, expected, found, fix="hand over what harness ci run wrote for these very commits")
    texts = [handover.observed.log]
    if handover.failure is not None:
        texts += [handover.failure.message, handover.failure.fix]
    if any(sanitise(text) != text for text in texts):
        raise UsageError(f"{path}: holds control characters or CI commands, which the harness never writes")
    if handover.failure is not None:
        _expect(path, "files of a failed run", ["run.json"], there, fix="leave outputs/ out")
        return handover, {}
    if (folder / "outputs").is_symlink():
        raise UsageError(f"{folder / 'outputs'}: is a symbolic link, expected a folder")
    sizes = {name: (pixels.shape[0], pixels.shape[1]) for name, pixels in slices.items()}
    outputs = pixels_of(read_folder(folder / "outputs", sizes=sizes))
    _expect(folder / "outputs", "digest of the outputs", handover.outputs, digest_outputs(outputs), fix="run it again")
    return handover, outputs


def _digest(handover: Handover) -> str:
    return digest_json(msgspec.structs.replace(handover, digest=""))


def _expect(where: Path, what: str, expected: Any, found: Any, *, fix: str) -> None:
    if expected != found:
        raise UsageError(f"{where}: {what}: expected {_shown(expected)}, found {_shown(found)}", fix=fix)


def _shown(value: Any) -> str:
    return shortened(ascii(msgspec.to_builtins(value)), 600)
