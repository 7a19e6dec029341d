"""`run`, `check`, `score`, `anchors`: scores on a protocol; `audit`: whether the scores of a record are right."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import rich_click as click

from harness.base.text import first_few
from harness.cli._common import (
    SubmissionFolder,
    complete_protocol,
    complete_submission,
    console,
    engine_option,
    given_options,
    json_option,
    leaderboard_option,
    print_failure,
    print_json,
    protocol_option,
    record_folder,
)
from harness.cli.summaries import print_comparisons, print_log, print_scores, print_standing, print_trial

if TYPE_CHECKING:
    from harness.records.schema import Failure

LOGGED = ("run", "outputs")
"""The stages at whose failure a container has a log (`harness.base.errors`)."""

features_option = click.option(
    "--features-on", default="cpu", show_default=True, help="Device of the feature extractors: cpu or cuda."
)


@click.command()
@click.argument(
    "submissions",
    nargs=-1,
    required=True,
    metavar="SUBMISSION...",
    type=SubmissionFolder(),
    shell_complete=complete_submission,
)
@protocol_option
@leaderboard_option
@click.option("--fresh", is_flag=True, help="Run the container again even if the cache holds the same run.")
@click.option(
    "--repeat",
    type=click.IntRange(1, 20),
    default=1,
    show_default=True,
    help="Run the container this many times and report how much its outputs differ.",
)
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Number of submissions to run in parallel."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--share", hidden=True, type=(int, int), default=(0, 1))
@engine_option
@features_option
@json_option
def run(
    submissions: tuple[Path, ...],
    protocol: str,
    leaderboard: Path,
    fresh: bool,
    repeat: int,
    jobs: int,
    dry_run: bool,
    share: tuple[int, int],
    features_on: str,
    as_json: bool,
) -> None:
    """Run submissions (folders, or slugs of those in submissions/) on a protocol, score them, write their records and
    the board.

    Several submissions run one after another, or with --jobs N in parallel on equal shares of the machine. A failure
    does not stop the others: a table at the end lists all outcomes, and the exit status is the first of 50, 40, 30 to
    10, 2 that occurred. --json prints a list with one object for each submission, however many there are; its `folder`
    holds record.json with all values.
    """
    if dry_run:
        from harness.cli.dry_run import print_plan

        print_plan(submissions, protocol, leaderboard, as_json=as_json)
        return
    if len(submissions) > 1:
        from harness.cli.batch import run_batch

        options = ["--repeat", str(repeat), "--features-on", features_on, *(["--fresh"] if fresh else [])]
        run_batch(submissions, protocol, leaderboard, jobs=jobs, options=options, as_json=as_json)
        return
    (submission,) = submissions

    from harness.protocol import load_protocol
    from harness.submission.manifest import load_submission

    chosen, entry = load_protocol(protocol), load_submission(submission)

    from harness.cli.outcomes import outcome_of, with_standings
    from harness.cli.terminal import TerminalReporter
    from harness.pipeline.engine import connect_with_base
    from harness.pipeline.evaluate import evaluate
    from harness.pipeline.noisy_input import noisy_scores
    from harness.pipeline.prepare import prepare

    reporter, began = TerminalReporter(), time.monotonic()
    with connect_with_base(reporter) as engine:
        benchmark = prepare(chosen, reporter, leaderboard=leaderboard, engine=engine, feature_device=features_on)
        evaluation = evaluate(
            entry, benchmark, engine=engine, reporter=reporter, fresh=fresh, share=share, repeat=repeat
        )
    failure = evaluation.record.result.failure
    if as_json:
        print_json(with_standings([outcome_of(evaluation, seconds=time.monotonic() - began)], leaderboard))
    else:
        noisy = noisy_scores(evaluation.record.result, benchmark, reporter) if failure is None else None
        print_scores(evaluation.record.result, chosen, noisy)
        print_standing(evaluation, chosen, leaderboard, deterministic=entry.manifest.deterministic)
    if failure is not None:
        _leave_with(failure, entry.slug, shown=chosen.publish.logs)


def _leave_with(failure: Failure, slug: str, *, shown: bool) -> NoReturn:
    """Print why a submission failed, with the end of its log where it has one that may be shown, and exit with its
    status."""
    if failure.stage in LOGGED:
        print_log(slug, shown=shown)
    print_failure(failure.stage, failure.exit_status, failure.party, failure.message, failure.fix)
    sys.exit(failure.exit_status)


@click.command()
@click.argument("submission", type=SubmissionFolder(), shell_complete=complete_submission)
@click.option(
    "-p",
    "--protocol",
    default="phantom-mini",
    show_default=True,
    help="Protocol whose data and limits are used.",
    shell_complete=complete_protocol,
)
@click.option("--slices", type=click.IntRange(min=1), default=3, show_default=True, help="Number of slices to run.")
@engine_option
@leaderboard_option
@click.pass_context
def check(context: click.Context, submission: Path, protocol: str, slices: int, leaderboard: Path) -> None:
    """Run a few slices under the production limits and report whether the outputs are valid. Nothing is scored.

    It also says what looks wrong with them beside their inputs (inverted, scaled, shifted, ...), and writes a contact
    sheet: input, output, difference.
    """
    from harness.protocol import load_protocol
    from harness.submission.manifest import load_submission

    chosen, entry = load_protocol(protocol), load_submission(submission)

    from harness.base.errors import ContainerError, OutputsError
    from harness.cli.terminal import TerminalReporter
    from harness.pipeline.engine import connect_with_base
    from harness.pipeline.trial import trial_run

    reporter = TerminalReporter()
    try:
        with connect_with_base(reporter) as engine:
            done = trial_run(entry, chosen, slices=slices, leaderboard=leaderboard, engine=engine, reporter=reporter)
    except (ContainerError, OutputsError):
        print_log(entry.slug, shown=chosen.publish.logs)
        raise
    print_trial(done)
    options = given_options(context, "protocol", "leaderboard", "engine")
    console().print(f"next: harness run {submission}{options}", highlight=False, soft_wrap=True)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@protocol_option
@click.option("--record", "slug", metavar="SLUG", help="Write a record under this slug: self-reported, never ranked.")
@click.option("--only", multiple=True, metavar="METRIC", help="Compute this metric alone; repeat it for several.")
@click.option("--skip", multiple=True, metavar="METRIC", help="Leave this metric out; repeat it for several.")
@click.option("--no-features", is_flag=True, help="Leave out what needs features of a network (FID, KID).")
@leaderboard_option
@features_option
@json_option
def score(
    folder: Path,
    protocol: str,
    slug: str | None,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    no_features: bool,
    leaderboard: Path,
    features_on: str,
    as_json: bool,
) -> None:
    """Score outputs made elsewhere, without a container: one <case>.png for every case of a protocol's data.

    `harness labels -o` writes the inputs (lq/); outputs take the same file names. They are scored exactly as in
    `harness run`, but since the harness did not make them the scores are marked self-reported and never rank.
    """
    from harness.protocol import load_protocol

    chosen = load_protocol(protocol)
    if only or skip or no_features:
        if slug is not None:
            raise click.UsageError("a record has all metrics: --record does not go with --only, --skip, --no-features")
        from harness.pipeline.folder import with_metrics

        chosen = with_metrics(chosen, only=only, skip=skip, features=not no_features)

    from harness.cli.terminal import TerminalReporter
    from harness.pipeline.folder import evaluate_folder
    from harness.pipeline.noisy_input import noisy_scores
    from harness.pipeline.prepare import prepare
    from harness.submission.manifest import check_slug

    reporter, keep = TerminalReporter(), slug is not None
    name = check_slug(slug) if slug else os.fsencode(folder.resolve().name).decode(errors="replace")
    benchmark = prepare(chosen, reporter, leaderboard=leaderboard, feature_device=features_on, writes=keep)
    record, written = evaluate_folder(folder, benchmark, reporter, slug=name, keep=keep)
    if as_json:
        print_json(record)
        return
    print_scores(record.result, chosen, noisy_scores(record.result, benchmark, reporter))
    place = f"record: {written}" if written else "no record is written (--record SLUG writes one)"
    console().print(f"self-reported, not ranked; {place}", highlight=False, soft_wrap=True)


@click.command()
@click.argument("record", type=click.Path(path_type=Path))
@leaderboard_option
@click.option(
    "--outputs",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of the outputs: <case>.png for every case.",
)
@json_option
def audit(record: Path, leaderboard: Path, outputs: Path | None, as_json: bool) -> None:
    """Recompute a record's values with clean-fid, torchmetrics and others, and compare.

    RECORD is its folder, its id or the beginning of its id. The tools start from the images where they are at hand
    (--outputs, a cached run on this machine, an anchor), else from the features that the record keeps.
    """
    from harness.base.errors import ScoringError
    from harness.cli.terminal import TerminalReporter
    from harness.pipeline.check_record import check_record

    folder = record_folder(record, leaderboard)
    comparisons = check_record(folder, TerminalReporter(), outputs=outputs)
    differ = [one for one in comparisons if not one.agrees]
    if as_json:
        print_json(comparisons)
    else:
        print_comparisons(comparisons)
    if differ:
        named = ", ".join(
            first_few([f"{one.metric} ({one.region}, {one.reference}, {one.tool})" for one in differ], at_most=5)
        )
        raise ScoringError(
            f"{record}: {len(differ)} of {len(comparisons)} values differ from the reference tools': {named}",
            fix="compare the record's version of the harness and its machine with yours",
        )


@click.command()
@protocol_option
@leaderboard_option
@features_option
def anchors(protocol: str, leaderboard: Path, features_on: str) -> None:
    """Score a protocol's reference rows: noisy input, blurs, weak denoiser and, on the phantom, the truth."""
    from harness.protocol import load_protocol

    chosen = load_protocol(protocol)

    from harness.board.ranking import ranking_value
    from harness.board.words import ranked_by
    from harness.cli.terminal import TerminalReporter
    from harness.pipeline.anchors import evaluate_anchors
    from harness.pipeline.prepare import prepare

    reporter = TerminalReporter()
    benchmark = prepare(chosen, reporter, leaderboard=leaderboard, feature_device=features_on)
    click.echo(f"by {ranked_by(chosen)}:")
    for record in evaluate_anchors(benchmark, reporter):
        value = ranking_value(record, chosen)
        shown = "–" if value is None else f"{value.value:.4g}"
        click.echo(f"{chosen.rank_by.metric} {shown}  {record.result.submission.name}")
