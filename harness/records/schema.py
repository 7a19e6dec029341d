"""Schema: what a record holds. `result` is what an identical run must repeat; its digest is the record's id."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from harness.base.digests import digest_json
from harness.base.errors import SubmissionError
from harness.base.structs import Strict
from harness.base.text import sanitise
from harness.protocol import Protocol
from harness.run.result import Repeat, Times
from harness.sandbox import BuildPolicy, Limits
from harness.scoring.score import ExtractorFacts, Fidelity, Table
from harness.submission.manifest import Submission

SIGNIFICANT_DIGITS = 7  # float32 features carry no more; fewer digits keep equal runs equal


class Failure(Strict, frozen=True, kw_only=True):
    """What went wrong, where, and whose fault it is, as `harness.base.errors` says it."""

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
