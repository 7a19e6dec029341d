"""Schema: what a record holds, and which part of it is its identity.

A record's id is the digest of what went in and what came out (`Identity`), and of no value: values are sums of floats,
whose last digits follow processor, threads and libraries. `content` is the digest of the whole `result`, values
included, and reveals damage.
"""

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
from harness.sandbox import NOT_ISOLATED, BuildPolicy, Limits
from harness.scoring.score import ExtractorFacts, Fidelity
from harness.scoring.values import Table, tables_of
from harness.submission.manifest import Submission

SIGNIFICANT_DIGITS = 7  # float32 features carry no more, and files are half as large as with all digits
ID_DIGITS = 16


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
    """What went in, what came out, and the values, which an identical run must repeat within the tolerance of
    `harness.records.agreement`."""

    schema: Literal[4] = 4
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
    # Younger than the first records of schema 3: left out where they say nothing, so that those digest as written.
    flags: tuple[str, ...] | UnsetType = UNSET  # outputs that match an answer too well; with any it is not ranked
    notes: tuple[str, ...] | UnsetType = UNSET  # what else is worth knowing of the outputs
    further: dict[str, Table] | UnsetType = UNSET  # the scorecard's, where there are any

    @property
    def tables(self) -> dict[str, Table]:
        """Every table by its name, as those of the scorecard."""
        return tables_of(self.metrics, self.truth, self.further or {})

    def table(self, name: str) -> Table:
        """One of `tables`; empty where there is none of that name."""
        if name in ("label", "truth"):
            return (self.metrics if name == "label" else self.truth) or {}
        return self.further.get(name, {}) if self.further else {}


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
    scored_on: dict[str, str] | None = None  # as `machine`, of the one that computed the values, where it is another
    files: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def scorer(self) -> dict[str, str]:
        """The machine and the versions that computed the values."""
        return self.machine if self.scored_on is None else self.scored_on

    @property
    def isolated(self) -> bool:
        """Whether the sandbox isolated its container; not one that was trusted (`harness.sandbox.TRUSTED`)."""
        return NOT_ISOLATED not in self.engine


class Identity(Strict, frozen=True, kw_only=True):
    """What went in and what came out: the same wherever the same outputs are scored.

    A failed record has no outputs: where it failed, and how, stands for them. Words (messages, notes, names) are left
    out, since they may be reworded; what a submission says of itself is in its folder's digest.
    """

    protocol: ProtocolFacts
    data: str
    labels: str
    slug: str
    submission: str  # digest of its folder
    self_reported: bool
    status: str
    failure: tuple[str, str] | None  # stage and code
    outputs: str | None
    weights: dict[str, str]  # extractor -> SHA-256


class Record(Strict, frozen=True, kw_only=True):
    """`id` is that of the result's identity, `content` the SHA-256 (hex) of the whole result.

    Records of schemas 1 to 3 have no content: their id is the digest of their result as it was written.
    """

    id: str
    content: str | None = None
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


def identity_of(result: Result) -> str:
    """The id of what went into a result and what came out: the first 16 hex digits of the digest of its `Identity`."""
    failure, submission = result.failure, result.submission
    identity = Identity(
        protocol=result.protocol,
        data=result.data,
        labels=result.labels,
        slug=submission.slug,
        submission=submission.digest,
        self_reported=result.self_reported,
        status=result.status,
        failure=None if failure is None else (failure.stage, failure.code),
        outputs=result.outputs,
        weights={name: facts.weights for name, facts in result.extractors.items()},
    )
    return digest_json(identity)[:ID_DIGITS]


def make_record(result: Result, observed: Observed) -> Record:
    """The record of a result, its floats rounded, with its id and the digest of its content."""
    result = msgspec.convert(rounded(msgspec.to_builtins(result)), Result)
    return Record(id=identity_of(result), content=digest_json(result), result=result, observed=observed)


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
