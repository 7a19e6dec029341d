"""Record: Scorecard + provenance -> Record; written once, verified on reading.

A record is a folder `<leaderboard>/records/<protocol>-<version>/<slug>/<id>/`. `result` is what an identical run must
repeat; its digest is the record's id. `observed` is what may differ between two runs of the same thing.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from harness import __version__
from harness.errors import SubmissionError, UsageError
from harness.files import Strict, atomic_folder, digest_file, digest_json, read_json, write_bytes, write_json
from harness.process import source_commit
from harness.protocol import Protocol
from harness.run import Repeat
from harness.sandbox import BuildPolicy, Limits, sanitise
from harness.score import ExtractorFacts, Fidelity, Table
from harness.signing import SIGNATURE, public_key, read_signature, write_signature
from harness.submission import Submission

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

WITHDRAWAL = "withdrawn.json"
SIGNIFICANT_DIGITS = 7  # float32 features carry no more; fewer digits keep equal runs equal


class Failure(Strict, frozen=True, kw_only=True):
    """What went wrong, where, and whose fault it is, as `harness.errors` says it."""

    stage: str
    code: str
    exit_status: int
    party: str
    message: str
    fix: str


class ProtocolFacts(Strict, frozen=True, kw_only=True):
    name: str
    version: int
    digest: str


class SubmissionFacts(Strict, frozen=True, kw_only=True):
    slug: str
    name: str
    version: str
    authors: tuple[str, ...]
    digest: str
    family: tuple[str, ...]
    anchor: bool


class Result(Strict, frozen=True, kw_only=True):
    """What an identical run must repeat, bit for bit."""

    schema: Literal[3] = 3
    status: Literal["scored", "failed", "invalid"]
    failure: Failure | None = None
    protocol: ProtocolFacts
    data: str
    labels: str
    submission: SubmissionFacts
    outputs: str | None = None
    device: str | None = None
    seed: int
    self_reported: bool = False  # outputs were handed in, not made by the harness in its sandbox
    extractors: dict[str, ExtractorFacts] = msgspec.field(default_factory=dict)
    implementations: dict[str, str] = msgspec.field(default_factory=dict)  # metric -> recipe and whose code
    metrics: Table = msgspec.field(default_factory=dict)
    truth: Table | None = None
    gate: Fidelity | None = None
    # Younger than the first records of this schema: left out where they say nothing, so that those are repeated.
    flags: tuple[str, ...] | UnsetType = UNSET  # outputs that match an answer too well; with any it is not ranked
    notes: tuple[str, ...] | UnsetType = UNSET  # what else is worth knowing of the outputs


class Times(Strict, frozen=True, kw_only=True):
    """Seconds of wall time."""

    build_s: float
    run_s: float
    seconds_per_slice: float  # the container's whole time, shared by all slices
    first_output_s: float | None = None  # cold start: from the container's start until its first output was finished


class About(Strict, frozen=True, kw_only=True):
    """What a submission says of itself, in its own words; empty where it says nothing."""

    description: str = ""
    license: str = ""
    code: str = ""
    paper: str = ""
    training_data: str = ""


class Observed(Strict, frozen=True, kw_only=True):
    """Circumstances of this one run."""

    date: str
    harness: str
    commit: str | None
    dirty: bool | None
    machine: dict[str, str]
    engine: str
    image: str | None  # the id that ran; no part of the result, since equal folders build to other ids elsewhere
    limits: Limits
    lowered: tuple[str, ...]
    times: Times | None = None
    peak_memory_bytes: int | None = None
    peak_gpu_memory_bytes: int | None = None
    build: BuildPolicy | None = None  # what the image's build was held to and allowed, if it was built here
    repeat: Repeat | None = None  # None where it ran once
    log: str = ""
    about: About | None = None  # null for reference rows, handed-in outputs and older records
    files: dict[str, str] = msgspec.field(default_factory=dict)


class Withdrawal(Strict, frozen=True, kw_only=True):
    """`withdrawn.json` beside a record, which itself never changes: it stays visible and no longer ranks."""

    schema: Literal[1] = 1
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
    date: str


class Record(Strict, frozen=True, kw_only=True):
    id: str
    result: Result
    observed: Observed


def rounded(value: Any) -> Any:
    """Plain data with every float rounded to the digits that float32 features carry; NaN and infinities refused."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} cannot stand in a record")
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value


def make_record(result: Result, observed: Observed) -> Record:
    """The record of a result, its id the first 16 hex digits of the result's digest."""
    result = msgspec.convert(rounded(msgspec.to_builtins(result)), Result)
    return Record(id=digest_json(result)[:16], result=result, observed=observed)


def failure_of(error: SubmissionError) -> Failure:
    """The failure that a record keeps of an error for which the submission is to blame."""
    return Failure(
        stage=error.stage,
        code=error.code,
        exit_status=error.exit_code,
        party=error.party,
        message=sanitise(error.message),  # it may quote a stranger
        fix=sanitise(error.fix),
    )


def protocol_facts(protocol: Protocol) -> ProtocolFacts:
    """A protocol as a record names it."""
    return ProtocolFacts(name=protocol.name, version=protocol.version, digest=protocol.digest)


def submission_facts(submission: Submission) -> SubmissionFacts:
    """A submission as a record names it."""
    manifest = submission.manifest
    return SubmissionFacts(
        slug=submission.slug,
        name=manifest.name,
        version=manifest.version,
        authors=manifest.authors,
        digest=submission.digest,
        family=manifest.family,
        anchor=manifest.anchor,
    )


def about(submission: Submission) -> About:
    """What a record keeps of a submission's own words."""
    manifest = submission.manifest
    return About(**{name: getattr(manifest, name) for name in About.__struct_fields__})


def observe(
    *,
    engine: str,
    image: str | None,
    limits: Limits,
    lowered: tuple[str, ...],
    **more: Any,
) -> Observed:
    """The circumstances of a run that ends now on this machine; `more` are the fields of `Observed` that it has."""
    commit, dirty = source_commit()
    return Observed(
        date=_now(),
        harness=__version__,
        commit=commit,
        dirty=dirty,
        machine=_machine(),
        engine=engine,
        image=image,
        limits=limits,
        lowered=lowered,
        **more,
    )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _machine() -> dict[str, str]:
    from importlib.metadata import version

    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )
    facts = {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    facts["memory_gb"] = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f}"
    for package in ("numpy", "scipy", "opencv-python-headless", "scikit-image", "torch", "torchmetrics"):
        facts[package] = version(package)
    return facts


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


# ------------------------------------------------------------------------------------------------ on disk
def record_folder(leaderboard: Path, record: Record) -> Path:
    """Where a record belongs."""
    protocol = record.result.protocol
    identity = f"{protocol.name}-{protocol.version}"
    return leaderboard / "records" / identity / record.result.submission.slug / record.id


def protocol_file(leaderboard: Path, name: str, version: int) -> Path:
    """Where a leaderboard keeps the resolved protocol of its records, so that it can be read without `protocols/`."""
    return leaderboard / "records" / f"{name}-{version}" / "protocol.json"


def read_protocol(leaderboard: Path, name: str, version: int) -> Protocol:
    """The protocol that the records of a name and version were scored under."""
    return read_json(protocol_file(leaderboard, name, version), Protocol)


def keep_protocol(leaderboard: Path, protocol: Protocol) -> None:
    """Write the resolved protocol beside its records.

    UsageError when records of the same name and version stand there under another text: they could not be compared.
    """
    path = protocol_file(leaderboard, protocol.name, protocol.version)
    if path.is_file() and read_json(path, Protocol).digest != protocol.digest:
        raise UsageError(
            f"{path}: protocol {protocol.identity} has records under another text than the one given",
            fix="raise the protocol's version (a changed benchmark is a new one), or use another --leaderboard",
        )
    write_json(path, protocol)


def write_record(
    leaderboard: Path, record: Record, attachments: Mapping[str, bytes], *, key: Ed25519PrivateKey | None = None
) -> tuple[Path, bool]:
    """Write a record and its attachments (file name -> bytes), signed where there is a key, in one step.

    Returns its folder and whether it is new: records are append-only, and a run that repeats a result finds its
    record there already.
    """
    folder = record_folder(leaderboard, record)
    if folder.exists():
        read_record(folder)
        return folder, False
    with atomic_folder(folder) as part:
        for name, data in attachments.items():
            write_bytes(part / name, data)
        files = {name: digest_file(part / name) for name in sorted(attachments)}
        observed = msgspec.structs.replace(record.observed, files=files)
        write_json(part / "record.json", msgspec.structs.replace(record, observed=observed))
        if key is not None:
            write_signature(part, key)
    return folder, True


def read_record(folder: Path) -> Record:
    """Read a record and verify its id, its attachments' digests and its signature if it has one; UsageError names what
    was damaged or altered.

    The digest is of the result as it was written; a record of an older schema is then brought up to date in memory.
    """
    path = folder / "record.json"
    raw = read_json(path, dict[str, Any])
    found = digest_json(raw.get("result"))[:16]
    if not found == raw.get("id") == folder.name:
        raise UsageError(
            f"{path}: damaged or altered: its result digests to {found}, "
            f"its id says {raw.get('id')}, its folder {folder.name}",
            fix="restore it from version control, or remove the folder",
        )
    try:
        record = msgspec.convert(upgraded(raw), Record)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {error}", fix="it was written by a newer harness, or not by the harness") from error
    for name, digest in record.observed.files.items():
        if not (folder / name).is_file() or digest_file(folder / name) != digest:
            raise UsageError(
                f"{folder / name}: missing, damaged or altered since the record was written",
                fix="restore it from version control, or remove the record's folder",
            )
    read_signature(folder)
    return record


def sign_record(folder: Path, key: Ed25519PrivateKey) -> None:
    """Sign a record that is whole. One that bears this key's signature keeps it; UsageError for another key's."""
    read_record(folder)
    there = read_signature(folder)
    if there is not None and there.key != public_key(key):
        raise UsageError(
            f"{folder}: is signed already, by the key {there.key}", fix=f"remove its {SIGNATURE} to sign it anew"
        )
    if there is None:
        write_signature(folder, key)


def unsigned_records(leaderboard: Path) -> list[Path]:
    """The folders of the records below a leaderboard that nobody has signed."""
    folders = [record_folder(leaderboard, record) for record in read_records(leaderboard)]
    return [folder for folder in folders if read_signature(folder) is None]


def upgraded(raw: dict[str, Any]) -> dict[str, Any]:
    """A record as plain data in the present schema; what was unknown when it was written stays unknown."""
    result = raw["result"]
    while (upgrade := UPGRADES.get(result.get("schema"))) is not None:
        upgrade(result)
    return raw


def _upgrade_1(result: dict[str, Any]) -> None:
    """2: values have a unit, and the values without each patient that paired differences are made from."""
    for table in (result["metrics"], result["truth"] or {}):
        for regions in table.values():
            for value in regions.values():
                value |= {"unit": "", "without": {}}
    result["schema"] = 2


def _upgrade_2(result: dict[str, Any]) -> None:
    """3: whether outputs were handed in, and each metric's implementation, whose defaults say that it is unknown."""
    result["schema"] = 3


UPGRADES = {1: _upgrade_1, 2: _upgrade_2}
"""Schema of a result -> what makes it one of the next."""


def read_records(leaderboard: Path) -> Iterator[Record]:
    """Every record below a leaderboard, in order of path."""
    for path in sorted(leaderboard.glob("records/*/*/*/record.json")):
        if not path.parent.name.startswith("."):
            yield read_record(path.parent)


# ------------------------------------------------------------------------------------------------ withdrawal
def withdraw(folder: Path, reason: str) -> Withdrawal:
    """Withdraw a record: it is shown with the reason and never ranks again.

    UsageError where the folder holds no sound record, no reason is given, or the record is withdrawn already.
    """
    read_record(folder)
    path = folder / WITHDRAWAL
    if path.exists():
        raise UsageError(
            f"{folder}: withdrawn already: {read_json(path, Withdrawal).reason}",
            fix=f"to change the reason, edit or remove {path}",
        )
    withdrawal = Withdrawal(reason=reason.strip(), date=_now())
    try:
        msgspec.convert(msgspec.to_builtins(withdrawal), Withdrawal)
    except msgspec.ValidationError as error:
        raise UsageError(f"withdrawal of {folder}: {error}", fix="give a reason of 1 to 1000 characters") from error
    write_json(path, withdrawal)
    return withdrawal


def read_withdrawals(leaderboard: Path) -> dict[str, Withdrawal]:
    """The withdrawn records of a leaderboard by id. UsageError names a file that is not a withdrawal."""
    return {
        path.parent.name: read_json(path, Withdrawal)
        for path in sorted(leaderboard.glob(f"records/*/*/*/{WITHDRAWAL}"))
    }
