"""Outputs -> scorecard -> the result that a record holds -> the record on the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
from msgspec import UNSET

from harness.base.errors import OutputsError
from harness.base.progress import Progress
from harness.pipeline.prepare import Benchmark
from harness.protocol import Protocol
from harness.records.observe import observe
from harness.records.schema import Failure, Observed, Record, Result, SubmissionFacts, protocol_facts
from harness.records.store import keep_protocol, write_record
from harness.scoring.cache import score_once
from harness.scoring.score import Scorecard
from harness.submission.manifest import ANCHOR_PREFIX


def score_outputs(outputs: Mapping[str, Path], benchmark: Benchmark, progress: Progress) -> Scorecard:
    """The scores of verified outputs (slice -> grey PNG) by every metric and region of the benchmark's protocol,
    computed here or found in the cache."""
    return score_once(
        outputs,
        benchmark.dataset,
        benchmark.labels,
        benchmark.protocol,
        extractors=benchmark.extractors,
        device=benchmark.feature_device,
        progress=progress,
    )


def result_of(
    submission: SubmissionFacts,
    benchmark: Benchmark,
    card: Scorecard | None,
    *,
    failure: Failure | None = None,
    outputs: str | None = None,
    device: str | None = None,
    self_reported: bool = False,
) -> Result:
    """The result of a submission: its scores (`card`) or its failure. `outputs` is the digest of its outputs."""
    status: Literal["scored", "failed", "invalid"] = "scored"
    if failure is not None:
        status = "invalid" if failure.code == OutputsError.code else "failed"
    return Result(
        status=status,
        failure=failure,
        protocol=protocol_facts(benchmark.protocol),
        data=benchmark.dataset.digest,
        labels=benchmark.labels.digest,
        submission=submission,
        outputs=outputs,
        device=device,
        seed=benchmark.protocol.seed,
        self_reported=self_reported,
        extractors=card.extractors if card else {},
        implementations=card.implementations if card else {},
        metrics=card.label if card else {},
        truth=card.truth if card else None,
        gate=card.gate if card else None,
        # the harness's own reference rows match answers on purpose, and everybody knows what a reference row is
        flags=(card.flags if card and not submission.slug.startswith(ANCHOR_PREFIX) else ()) or UNSET,
        notes=(card.notes if card and not submission.anchor else ()) or UNSET,
        further=(card.further if card else {}) or UNSET,
    )


def observed_without_engine(protocol: Protocol) -> Observed:
    """The circumstances of scores for which no container ran."""
    return observe(engine="none", image=None, limits=protocol.limits, lowered=())


class Kept(NamedTuple):
    """A record as the leaderboard names it, its folder, and whether it is new."""

    record: Record
    folder: Path
    new: bool


def keep_record(record: Record, attachments: Mapping[str, bytes], benchmark: Benchmark) -> Kept:
    """Write a record, its attachments and its protocol to the leaderboard.

    A record of the same result that is there already stays, and gives its id to this one (an older schema has others).
    UsageError where it has other values.
    """
    keep_protocol(benchmark.leaderboard, benchmark.protocol)
    folder, new = write_record(benchmark.leaderboard, record, attachments, key=benchmark.signing_key)
    return Kept(msgspec.structs.replace(record, id=folder.name), folder, new)
