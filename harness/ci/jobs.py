"""The jobs of `harness ci`: check a pull request's submissions, run them without labels, score what was transferred.

The harness comes from the checkout of the base; of the pull request only the folders of submissions are read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from harness.base.errors import UsageError
from harness.base.files import cache_root, private_folder
from harness.base.progress import Reporter
from harness.base.slices import write_slices
from harness.base.text import counted
from harness.base.unforeseen import as_harness_error
from harness.board.build import write_board
from harness.ci.pull_request import PullRequest, extract
from harness.ci.transfer import TransferredRun, read_run, shown, write_run
from harness.ci.verdicts import Verdict, verdict_of
from harness.dataset.cases import Inputs
from harness.engines import Engine
from harness.pipeline.container_run import run_container
from harness.pipeline.evaluate import Evaluation, score_and_record
from harness.pipeline.prepare import Benchmark, prepare
from harness.pipeline.trial import trial_run
from harness.protocol import Protocol
from harness.records.schema import about, submission_facts
from harness.submission.manifest import Submission, load_submission
from harness.submission.overlap import refuse_test_slices


@contextlib.contextmanager
def submission_of(repository: Path, pull: PullRequest, slug: str) -> Iterator[Submission]:
    """A submission as the head of a pull request has it, in a private folder for as long as the block lasts."""
    with private_folder(cache_root() / "pull-requests") as private:
        yield load_submission(extract(repository, pull.head, slug, private))


def check_submissions(
    repository: Path,
    pull: PullRequest,
    protocol: Protocol,
    *,
    slices: int,
    leaderboard: Path,
    engine: Engine,
    reporter: Reporter,
) -> list[Verdict]:
    """Run every changed submission on the first `slices` slices under the production limits."""
    verdicts = []
    for slug in pull.changed:
        try:
            with submission_of(repository, pull, slug) as submission:
                done = trial_run(
                    submission, protocol, slices=slices, leaderboard=leaderboard, engine=engine, reporter=reporter
                )
        except Exception as error:  # whatever one submission causes, the others keep their verdicts
            verdicts.append(verdict_of(slug, as_harness_error(error)))
        else:
            run, peak = done.run, done.run.costs.peak_memory_bytes
            memory = "unknown" if peak is None else f"{peak / 1e6:.0f} MB"
            seen, took = counted(len(run.outputs), "slice"), run.costs.times.run_s
            message = f"{seen} in {took:.1f} s including start-up; peak memory {memory}"
            message += "".join(f"\nlowered on this machine: {line}" for line in run.lowered)
            message += "".join(f"\nlooks wrong: {line}" for line in done.slips)
            verdicts.append(Verdict(slug=slug, exit_status=0, message=message))
    return verdicts


def run_without_labels(
    repository: Path,
    pull: PullRequest,
    slug: str,
    inputs: Inputs,
    protocol: Protocol,
    folder: Path,
    *,
    engine: Engine,
    reporter: Reporter,
) -> TransferredRun:
    """Run a submission on all noisy slices and write the outcome to the new folder `<folder>/<slug>`, to be scored
    elsewhere. The failure of a submission is an outcome, too; other errors are raised and leave nothing."""
    with submission_of(repository, pull, slug) as submission:
        outcome, run = run_container(submission, inputs, protocol, engine=engine, reporter=reporter)
    return write_run(folder / slug, outcome, run.outputs if run else {}, inputs=inputs, protocol=protocol)


def score_transferred(
    repository: Path,
    pull: PullRequest,
    protocol: Protocol,
    folder: Path,
    *,
    leaderboard: Path,
    reporter: Reporter,
    feature_device: str = "cpu",
) -> tuple[list[Evaluation], list[Verdict]]:
    """Score the runs of all changed submissions that `run_without_labels` wrote to `folder`; write records and board.

    No container runs here, unless the protocol's weak denoiser is a submission. Returns what was recorded, and a
    verdict on each submission that was refused, or whose run is not there. UsageError if `folder` holds anything but
    changed submissions.
    """
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if not found <= set(pull.changed) or (pull.changed and not found):
        raise UsageError(
            f"{folder}: expected {shown(sorted(pull.changed))}, found {shown(sorted(found))}",
            fix="give what harness ci run wrote for these commits",
        )
    benchmark = prepare(protocol, reporter, leaderboard=leaderboard, feature_device=feature_device)
    recorded, refused = [], []
    for slug in pull.changed:
        try:
            with submission_of(repository, pull, slug) as submission:
                recorded.append(score_run(folder / slug, submission, benchmark, reporter))
        except Exception as error:  # as in `check_submissions`
            refused.append(verdict_of(slug, as_harness_error(error)))
    if recorded:
        write_board(leaderboard)
    return recorded, refused


def score_run(folder: Path, submission: Submission, benchmark: Benchmark, reporter: Reporter) -> Evaluation:
    """Score what `harness.ci.transfer.write_run` wrote to `folder` of a submission's run, and write its record.

    UsageError if it is of anything else than this submission and benchmark.
    """
    refuse_test_slices(submission, benchmark.dataset)
    outcome, images = read_run(
        folder,
        submission=submission_facts(submission),
        about=about(submission),
        takes=submission.manifest.takes,
        dataset=benchmark.dataset,
        protocol=benchmark.protocol,
    )
    # scored is a copy of the pixels that were read and verified, not the files, which may change meanwhile
    with private_folder(cache_root() / "transfer") as private:
        write_slices(private, images)
        outputs = {name: private / f"{name}.png" for name in images}
        return score_and_record(outcome, outputs, benchmark, reporter)
