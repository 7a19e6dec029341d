"""Submission x noisy slices -> what became of its run, as a record keeps it. No label is read here."""

from __future__ import annotations

import msgspec

from harness.base.errors import SubmissionError
from harness.base.progress import Reporter
from harness.base.structs import Strict
from harness.dataset.cases import Inputs
from harness.engines import Engine
from harness.protocol import Protocol
from harness.records.observe import observe
from harness.records.schema import Failure, Observed, SubmissionFacts, about, failure_of, submission_facts
from harness.run.context import refuse_unordered
from harness.run.execute import run_submission
from harness.run.result import Run
from harness.sandbox import Device
from harness.submission.manifest import Submission, Takes


class RunOutcome(Strict, frozen=True, kw_only=True):
    """What became of a submission's run, before any label is read: all that its record needs beside the outputs."""

    submission: SubmissionFacts
    failure: Failure | None = None
    device: Device | None = None
    takes: Takes = Takes()
    outputs: str | None = None  # digest of the outputs (`harness.run.result.digest_outputs`); None if it failed
    observed: Observed


def run_container(
    submission: Submission,
    inputs: Inputs,
    protocol: Protocol,
    *,
    engine: Engine,
    reporter: Reporter,
    fresh: bool = False,
    share: tuple[int, int] = (0, 1),
    repeat: int = 1,
) -> tuple[RunOutcome, Run | None]:
    """Run a submission on a protocol's noisy slices. Returns what became of it, and the run itself if it succeeded.

    A submission that fails is an outcome; every other error is raised. `fresh`, `share` and `repeat` are those of
    `harness.run.execute.run_submission`.
    """
    takes = submission.manifest.takes
    refuse_unordered(takes.context, inputs, protocol=protocol.identity)
    facts, words = submission_facts(submission), about(submission)
    try:
        with reporter.stage("run") as progress:
            run = run_submission(
                submission,
                inputs,
                protocol.limits,
                seed=protocol.seed,
                engine=engine,
                fresh=fresh,
                publish_logs=protocol.publish.logs,
                share=share,
                repeat=repeat,
                note=reporter.note,
                progress=progress,
            )
    except SubmissionError as error:
        observed = observe(engine=engine.description, image=None, limits=protocol.limits, lowered=(), about=words)
        return RunOutcome(submission=facts, failure=failure_of(error), takes=takes, observed=observed), None
    observed = observe(
        engine=run.engine,
        image=run.image,
        limits=run.limits,
        lowered=run.lowered,
        build=run.build,
        repeat=run.repeat,
        log=run.log if protocol.publish.logs else "",
        about=words,
        **msgspec.structs.asdict(run.costs),
    )
    return RunOutcome(
        submission=facts, device=run.device, takes=takes, outputs=run.outputs_digest, observed=observed
    ), run
