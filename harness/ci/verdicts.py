"""CI: a pull request's submissions, each tried, run without labels, or scored from what such a run handed over.

What judges is the harness that runs, from the base's checkout; of the pull request only submissions' folders are read.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.base.errors import HarnessError, UsageError
from harness.base.files import cache_root, private_folder
from harness.base.progress import Reporter
from harness.base.slices import write_slices
from harness.base.structs import Strict
from harness.base.text import sanitise
from harness.ci.handover import Handover, read_handover, write_handover
from harness.ci.pull_request import PullRequest, extract
from harness.dataset.cases import Inputs
from harness.engines import Engine
from harness.pipeline.attempt import attempt, check
from harness.pipeline.evaluate import Evaluation, conclude, prepare
from harness.protocol import Protocol
from harness.records.schema import about, submission_facts
from harness.records.signing import signing_key
from harness.records.store import keep_protocol
from harness.scoring.score import load_extractors
from harness.submission.manifest import Submission, load_submission
from harness.submission.overlap import refuse_test_slices

SHOWN_AT_MOST = 2000  # characters of one message in a verdict


class Verdict(Strict, frozen=True, kw_only=True):
    """What became of one submission; `said` is plain text, of strangers in part."""

    slug: str
    exit_status: int
    said: str


def verdict_of(slug: str, error: HarnessError) -> Verdict:
    """The verdict on a submission that an error ended."""
    said = f"at stage {error.stage}: {error.message}" + (f"\ndo: {error.fix}" if error.fix else "")
    return Verdict(slug=slug, exit_status=error.exit_code, said=said)


@contextlib.contextmanager
def submission_of(repository: Path, pull: PullRequest, slug: str) -> Iterator[Submission]:
    """A pull request's submission, as its head has it, in a private folder for as long as the block lasts."""
    with private_folder(cache_root() / "pull-requests") as private:
        yield load_submission(extract(repository, pull.head, slug, private))


def check_all(
    repository: Path,
    pull: PullRequest,
    protocol: Protocol,
    *,
    slices: int,
    leaderboard: Path,
    engine: Engine,
    reporter: Reporter,
) -> list[Verdict]:
    """Run every changed submission on a few slices under the production limits (`harness.pipeline.attempt.check`)."""
    verdicts = []
    for slug in pull.changed:
        try:
            with submission_of(repository, pull, slug) as submission:
                run = check(
                    submission, protocol, slices=slices, leaderboard=leaderboard, engine=engine, reporter=reporter
                )
        except HarnessError as error:
            verdicts.append(verdict_of(slug, error))
        else:
            peak = run.costs.peak_memory_bytes
            memory = "unknown" if peak is None else f"{peak / 1e6:.0f} MB"
            said = f"{len(run.outputs)} slices in {run.costs.times.run_s:.1f} s, start included; peak memory {memory}"
            said += "".join(f"\nlowered on this machine: {line}" for line in run.lowered)
            verdicts.append(Verdict(slug=slug, exit_status=0, said=said))
    return verdicts


def run_apart(
    repository: Path,
    pull: PullRequest,
    slug: str,
    inputs: Inputs,
    protocol: Protocol,
    folder: Path,
    *,
    engine: Engine,
    reporter: Reporter,
) -> Handover:
    """Run a submission on all inputs and write what became of it to the new folder `<folder>/<slug>`, for scoring
    elsewhere. A submission that fails is handed over, too; other errors are raised and leave nothing."""
    with submission_of(repository, pull, slug) as submission:
        tried, run = attempt(submission, inputs, protocol, engine=engine, reporter=reporter)
    return write_handover(folder / slug, tried, run.outputs if run else {}, inputs=inputs, protocol=protocol)


def score_all(
    repository: Path,
    pull: PullRequest,
    protocol: Protocol,
    folder: Path,
    *,
    leaderboard: Path,
    reporter: Reporter,
    feature_device: str = "cpu",
) -> tuple[list[Evaluation], list[Verdict]]:
    """Score what `run_apart` wrote of every changed submission, and write records and board, as `evaluate` does.

    No container runs here, unless the protocol's weak denoiser is a submission. Returns what was recorded, and a
    verdict on each submission that was not. UsageError where `folder` holds anything else than the changed submissions.
    """
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if there != set(pull.changed):
        raise UsageError(
            f"{folder}: expected {sorted(pull.changed)!a}, found {sorted(there)!a}",
            fix="hand over what harness ci run wrote for these very commits",
        )
    key = signing_key(os.environ)
    extractors = load_extractors(protocol, device=feature_device)
    dataset, labels = prepare(protocol, reporter, leaderboard=leaderboard)
    done, refused = [], []
    for slug in pull.changed:
        try:
            with submission_of(repository, pull, slug) as submission:
                facts, words = submission_facts(submission), about(submission)
                refuse_test_slices(submission, dataset)
            tried, found = read_handover(
                folder / slug, submission=facts, about=words, dataset=dataset, protocol=protocol
            )
            keep_protocol(leaderboard, protocol)
            with private_folder(cache_root() / "handover") as private:  # what was read, not what lies there, is scored
                write_slices(private, found)
                outputs = {name: private / f"{name}.png" for name in found}
                evaluation = conclude(
                    tried,
                    outputs,
                    protocol,
                    dataset,
                    labels,
                    extractors=extractors,
                    leaderboard=leaderboard,
                    reporter=reporter,
                    key=key,
                )
            done.append(evaluation)
        except HarnessError as error:
            refused.append(verdict_of(slug, error))
    return done, refused


# -------------------------------------------------------------------------------- in words
def as_markdown(pull: PullRequest, verdicts: Sequence[Verdict]) -> str:
    """The verdicts as markdown. Strangers' words stand in code blocks, where they can neither link, call nor format."""
    parts = [f"Submissions of {pull.head[:12]}, compared with {pull.base[:12]}:"]
    for one in verdicts:
        word = "valid" if one.exit_status == 0 else f"failed, exit status {one.exit_status}"
        parts.append(f"**{_slug(one.slug)}**: {word}")
        parts.append(quoted(one.said))
    parts += [f"**{_slug(slug)}**: removed; there is nothing to run, and its records stay" for slug in pull.removed]
    if not pull.changed and not pull.removed:
        parts.append("no submission is changed, there is nothing to run")
    return "\n\n".join(parts) + "\n"


def quoted(text: str) -> str:
    """A stranger's text as an indented code block of markdown."""
    text = sanitise(text)
    shown = text if len(text) <= SHOWN_AT_MOST else text[:SHOWN_AT_MOST] + " ..."
    return "\n".join(f"    {line}" for line in shown.splitlines())


def _slug(slug: str) -> str:
    """A folder's name, which may be no slug, as code."""
    return "`" + ascii(slug)[1:-1].replace("`", "'")[:80] + "`"
