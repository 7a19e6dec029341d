"""Records for tests of record and board, made by the real constructors."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.protocol import Metric, Protocol, RankBy, load_protocol
from harness.records.schema import Failure, Observed, Record, Result, SubmissionFacts, make_record, protocol_facts
from harness.sandbox import Limits
from harness.scoring.score import ExtractorFacts, Fidelity
from harness.scoring.values import Table, Value

PROTOCOL = msgspec.structs.replace(
    load_protocol("phantom-mini", official=False),
    metrics=(
        Metric(name="KID", metric="kernel", features="inception-random"),
        Metric(name="FID", metric="frechet", features="inception-random"),
        Metric(name="CLIP-FID", metric="frechet", features="clip-random"),
        Metric(name="RMSE", metric="rmse"),
        Metric(name="PSNR", metric="psnr"),
        Metric(name="SSIM", metric="ssim"),
        Metric(name="noise", metric="noise"),
    ),
    rank_by=RankBy(metric="KID"),
    lesion_gate=None,
)
"""Ranks by KID against the label, whatever the shipped protocol ranks by."""
FAILURE = Failure(
    stage="run",
    code="container",
    exit_status=20,
    party="submission",
    message="exit status 1: no weights",
    fix="mend it",
)


def value(number: float, *, higher_is_better: bool = False) -> Value:
    """A value whose interval is 0.1 on either side, from three patients alike."""
    without = {patient: number + shift for patient, shift in (("p1", -0.02), ("p2", 0.0), ("p3", 0.02))}
    return Value(
        value=number,
        low=number - 0.1,
        high=number + 0.1,
        n=12,
        higher_is_better=higher_is_better,
        unit="",
        without=without,
    )


def table(kid: float) -> Table:
    return {"KID": {"whole": value(kid), "lung": value(kid / 2)}, "SSIM": {"whole": value(0.5, higher_is_better=True)}}


def observed(date: str = "2026-01-01T00:00:00Z") -> Observed:
    return Observed(
        date=date,
        harness="0",
        commit=None,
        dirty=None,
        machine={},
        engine="docker",
        image=None,
        limits=Limits(),
        lowered=(),
    )


def scored(
    slug: str,
    kid: float,
    *,
    date: str = "2026-01-01T00:00:00Z",
    protocol: Protocol = PROTOCOL,
    gate_passed: bool = True,
    **submission: Any,
) -> Record:
    """A scored record of a submission with that KID; `submission` changes its facts."""
    facts = SubmissionFacts(
        slug=slug, name=slug.upper(), version="1", authors=("A",), digest="d", family=(), anchor=False
    )
    result = Result(
        status="scored",
        protocol=protocol_facts(protocol),
        data="data",
        labels="labels",
        submission=msgspec.structs.replace(facts, **submission),
        outputs=f"outputs that give {kid}",
        device="cpu",
        seed=1,
        extractors={"inception-random": ExtractorFacts(weights="w", note="random weights")},
        metrics=table(kid),
        truth=table(kid + 1),
        gate=Fidelity(reference="truth", metric="RMSE", region="whole", value=1, bound=2, passed=gate_passed),
    )
    return make_record(result, observed(date))


def on_another_processor(record: Record, off: float, *, slug: str) -> Record:
    """The same outputs under another slug, all values off by the part `off`, scored on another processor."""

    def moved(number: float) -> float:
        return number * (1 + off)

    def table_of(one: Table) -> Table:
        return {
            metric: {
                region: msgspec.structs.replace(
                    value,
                    value=moved(value.value),
                    without={patient: moved(number) for patient, number in value.without.items()},
                )
                for region, value in regions.items()
            }
            for metric, regions in one.items()
        }

    result = msgspec.structs.replace(
        record.result,
        submission=msgspec.structs.replace(record.result.submission, slug=slug),
        metrics=table_of(record.result.metrics),
        truth=table_of(record.result.truth or {}),
    )
    machine = {"cpu": "Other CPU", "level": "x86-64-v3", "threads": "torch 64, numba 64", "numpy": "2.0"}
    return make_record(result, msgspec.structs.replace(record.observed, machine=machine))


def failed(slug: str, *, date: str = "2026-01-01T00:00:00Z") -> Record:
    """A failed record of a submission."""
    result = msgspec.structs.replace(
        scored(slug, 0).result, status="failed", failure=FAILURE, metrics={}, truth=None, gate=None, outputs=None
    )
    return make_record(result, observed(date))
