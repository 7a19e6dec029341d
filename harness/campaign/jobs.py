"""The jobs of a campaign: labels once a protocol, runs without labels at hand, scores. Each may be killed and repeated.

Their order, retries and machines are Snakemake's (`Snakefile` beside this file).
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from harness.base.errors import UsageError
from harness.base.files import in_turn
from harness.base.progress import Reporter
from harness.base.structs import Strict, write_json
from harness.base.unforeseen import as_harness_error
from harness.campaign.plan import Campaign, Cell, read_campaign, read_protocol
from harness.ci.jobs import score_run
from harness.ci.transfer import read_inputs, write_inputs, write_run
from harness.pipeline.container_run import run_container
from harness.pipeline.engine import connect_with_base
from harness.pipeline.prepare import prepare
from harness.submission.manifest import Submission, load_submission


class Ended(Strict, frozen=True, kw_only=True):
    """What became of a job: its exit status in words, and the record if it made one."""

    exit_status: int
    message: str
    record: str = ""
    folder: str = ""  # of the record


def labels_job(folder: Path, protocol: str, reporter: Reporter) -> None:
    """Build labels of a protocol in the cache, and write its noisy slices to `inputs/`."""
    campaign, chosen = _enter(folder), read_protocol(folder, protocol)
    with _job(folder, protocol):
        benchmark = prepare(
            chosen, reporter, leaderboard=Path(campaign.leaderboard), feature_device=campaign.features_on
        )
        inputs = folder / "inputs" / protocol
        shutil.rmtree(inputs, ignore_errors=True)  # of a killed job, which may be of other data
        write_inputs(benchmark.dataset, chosen, inputs)


def run_job(folder: Path, protocol: str, submission: str, reporter: Reporter) -> None:
    """Run a submission on a protocol's noisy slices and write the outcome to `runs/`. No label is read."""
    campaign, chosen = _enter(folder), read_protocol(folder, protocol)
    cell = campaign.cell(protocol, submission)
    with _job(folder, cell):
        inputs = read_inputs(folder / "inputs" / protocol, chosen)
        entry = _entry(cell)
        with connect_with_base(reporter) as engine:
            outcome, run = run_container(entry, inputs, chosen, engine=engine, reporter=reporter)
        place = folder / "runs" / cell.path
        shutil.rmtree(place, ignore_errors=True)
        write_run(place, outcome, run.outputs if run else {}, inputs=inputs, protocol=chosen)


def score_job(folder: Path, protocol: str, submission: str, reporter: Reporter) -> None:
    """Score a run, write its record to the leaderboard and what became of it to `scores/`. No container runs."""
    campaign, chosen = _enter(folder), read_protocol(folder, protocol)
    cell = campaign.cell(protocol, submission)
    with _job(folder, cell):
        benchmark = prepare(
            chosen, reporter, leaderboard=Path(campaign.leaderboard), feature_device=campaign.features_on
        )
        done = score_run(folder / "runs" / cell.path, _entry(cell), benchmark, reporter)
        failure = done.record.result.failure
        ended = Ended(
            exit_status=0 if failure is None else failure.exit_status,
            message="scored" if failure is None else failure.message,
            record=done.record.id,
            folder=done.folder,
        )
        write_json(score_file(folder, cell), ended)


def score_file(folder: Path, cell: Cell) -> Path:
    """Where a score is noted."""
    return folder / "scores" / f"{cell.path}.json"


def problem_file(folder: Path, of: Cell | str) -> Path:
    """Where it is noted why a job of a cell, or the one that makes labels of a protocol, ended without a result."""
    return folder / "problems" / f"{of.path if isinstance(of, Cell) else of}.json"


def _enter(folder: Path) -> Campaign:
    """The campaign, whose relative paths hold from now on."""
    campaign = read_campaign(folder)
    os.chdir(campaign.start)
    return campaign


def _entry(cell: Cell) -> Submission:
    entry = load_submission(cell.folder)
    if entry.digest != cell.digest:
        raise UsageError(f"{cell.folder} has changed since the campaign began", fix="give the command again")
    return entry


@contextlib.contextmanager
def _job(folder: Path, of: Cell | str) -> Iterator[None]:
    """One job at a time of a cell or protocol: those of a campaign that was killed may still run on the cluster. Notes
    why the block ended with an error, for the table at the campaign's end."""
    problem = problem_file(folder, of)
    with in_turn(folder / "locks" / problem.relative_to(folder / "problems")):
        problem.unlink(missing_ok=True)
        try:
            yield
        except Exception as error:
            known = as_harness_error(error)
            write_json(problem, Ended(exit_status=known.exit_code, message=known.message))
            raise
