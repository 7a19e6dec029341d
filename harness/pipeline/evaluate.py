"""Submission x benchmark -> its record: run the container, score its outputs, write the record and the board."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from harness.base.progress import Reporter
from harness.base.structs import Strict
from harness.board.build import write_board
from harness.engines import Engine
from harness.pipeline.attachments import attachment_files
from harness.pipeline.container_run import RunOutcome, run_container
from harness.pipeline.prepare import Benchmark
from harness.pipeline.result import keep_record, result_of, score_outputs
from harness.records.observe import scored_here
from harness.records.schema import Record, make_record
from harness.run.context import context_note
from harness.run.input_kinds import mapping_note
from harness.run.result import Run
from harness.scoring.score import Scorecard
from harness.submission.manifest import Submission
from harness.submission.overlap import refuse_test_slices


class Evaluation(Strict, frozen=True, kw_only=True):
    """A finished evaluation: its record, the record's folder, whether it is new, and the run if it succeeded here."""

    record: Record
    folder: str
    new: bool
    run: Run | None = None


def evaluate(
    submission: Submission,
    benchmark: Benchmark,
    *,
    engine: Engine,
    reporter: Reporter,
    fresh: bool = False,
    share: tuple[int, int] = (0, 1),
    repeat: int = 1,
) -> Evaluation:
    """Run a submission on a benchmark, score it, write its record and rebuild the board.

    A submission that fails gets a failed record (`record.result.failure`). Errors of the machine, the protocol or the
    scoring are raised and leave no record, since they say nothing about the submission; so is a training set that
    holds slices of the test set. With `fresh` a cached run is not reused. This run takes part `share[0]` of `share[1]`
    equal parts of the engine's machine. The container runs `repeat` times, and the record says how the outputs differ.
    """
    refuse_test_slices(submission, benchmark.dataset)
    outcome, run = run_container(
        submission,
        benchmark.dataset,
        benchmark.protocol,
        engine=engine,
        reporter=reporter,
        fresh=fresh,
        share=share,
        repeat=repeat,
    )
    outputs = {name: Path(path) for name, path in run.outputs.items()} if run else {}
    evaluation = score_and_record(outcome, outputs, benchmark, reporter)
    write_board(benchmark.leaderboard)
    return msgspec.structs.replace(evaluation, run=run)


def score_and_record(
    outcome: RunOutcome, outputs: Mapping[str, Path], benchmark: Benchmark, reporter: Reporter
) -> Evaluation:
    """Score the verified `outputs` of a run (slice -> PNG; none if it failed) and write its record; the board is the
    caller's, which may have more records to come."""
    card: Scorecard | None = None
    observed = outcome.observed
    attachments: dict[str, bytes] = {}
    if outcome.failure is None:
        with reporter.stage("score") as progress:
            card = score_outputs(outputs, benchmark, progress)
        coupled = benchmark.protocol.coupled is not None
        mapped = mapping_note(outcome.takes.input, benchmark.dataset)
        context = context_note(outcome.takes.context, coupled=coupled)
        for said in filter(None, (mapped, context)):
            reporter.note(f"{outcome.submission.slug} {said}")
            card = msgspec.structs.replace(card, notes=(*card.notes, said))
        observed = scored_here(observed)
        attachments = attachment_files(benchmark.protocol, benchmark.dataset, benchmark.labels, outputs, card)
    result = result_of(
        outcome.submission,
        benchmark,
        card,
        failure=outcome.failure,
        outputs=outcome.outputs,
        device=outcome.device,
    )
    kept = keep_record(make_record(result, observed), attachments, benchmark)
    return Evaluation(record=kept.record, folder=str(kept.folder), new=kept.new)
