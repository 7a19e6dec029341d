"""`ci`: check the submissions of a pull request, run them on a machine without labels, score them on another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from harness.cli._common import console, json_option, leaderboard_option, print_rows, protocol_option, show_error
from harness.cli.batch import leave_with_worst
from harness.cli.outcomes import outcome, outcome_of, with_standings

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.ci.pull_request import PullRequest

HERE = Path()  # the clone in which the command is given


def commits(verb: Callable[..., None]) -> Callable[..., None]:
    """The options for the two commits of a pull request."""
    verb = click.option(
        "--head", default="HEAD", show_default=True, help="Head of the pull request: a commit or branch."
    )(verb)
    return click.option("--base", required=True, help="Base of the pull request: a commit or branch.")(verb)


def _pull_request(base: str, head: str) -> PullRequest:
    from harness.ci.pull_request import read_pull_request

    return read_pull_request(HERE, base=base, head=head)


@click.group()
def ci() -> None:
    """Handle submissions that come as pull requests: check, run without labels, score (docs/ci.md)."""


@ci.command()
@commits
@click.option(
    "-p", "--protocol", default="phantom-mini", show_default=True, help="Protocol whose data and limits are used."
)
@click.option("--slices", default=3, show_default=True, help="Number of slices to run.")
@leaderboard_option
def check(base: str, head: str, protocol: str, slices: int, leaderboard: Path) -> None:
    """Check every submission that a pull request adds or changes, and print a verdict in markdown.

    A submission passes if its manifest is valid, its image builds and a few slices run under the production limits.
    The pull request is refused if it touches the leaderboard or mixes submissions with anything else. Nothing is
    checked out: files are read from git's objects.
    """
    from harness.base.errors import UsageError
    from harness.ci.jobs import check_submissions
    from harness.ci.verdicts import as_markdown, quoted
    from harness.protocol import load_protocol

    try:
        pull = _pull_request(base, head)
    except UsageError as error:
        click.echo("Refused:\n\n" + quoted(f"{error.message}\nfix: {error.fix}"))
        raise

    chosen = load_protocol(protocol)
    verdicts = []
    if pull.changed:
        from harness.cli.terminal import TerminalReporter
        from harness.pipeline.engine import connect_with_base

        reporter = TerminalReporter()
        with connect_with_base(reporter) as engine:
            verdicts = check_submissions(
                HERE, pull, chosen, slices=slices, leaderboard=leaderboard, engine=engine, reporter=reporter
            )
    click.echo(as_markdown(pull, verdicts), nl=False)
    leave_with_worst(one.exit_status for one in verdicts)


@ci.command()
@protocol_option
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write to (new).")
@leaderboard_option
def inputs(protocol: str, output: Path, leaderboard: Path) -> None:
    """Write a protocol's noisy slices for `harness ci run`, once for each machine that runs containers."""
    from harness.ci.transfer import write_inputs
    from harness.cli.terminal import TerminalReporter
    from harness.pipeline.data import prepare_data
    from harness.protocol import load_protocol

    chosen = load_protocol(protocol)
    dataset = prepare_data(chosen, TerminalReporter(), leaderboard=leaderboard)
    write_inputs(dataset, chosen, output)
    click.echo(f"wrote {len(dataset.cases)} noisy slices to {output}")


@ci.command()
@commits
@protocol_option
@click.option(
    "--inputs", "given", required=True, type=click.Path(path_type=Path), help="Folder that `harness ci inputs` wrote."
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write to (new).")
def run(base: str, head: str, protocol: str, given: Path, output: Path) -> None:
    """Run a pull request's submissions on all slices, without labels, and write their outputs for scoring.

    Each submission gets a folder with run.json and outputs/. The exit status is 0 once all folders are written, even
    if a container failed: `harness ci score` reports that.
    """
    from harness.base.files import refuse_existing
    from harness.base.unforeseen import as_harness_error
    from harness.ci.jobs import run_without_labels
    from harness.ci.transfer import read_inputs
    from harness.cli.terminal import TerminalReporter
    from harness.pipeline.engine import connect_with_base
    from harness.protocol import load_protocol

    refuse_existing(output)
    chosen = load_protocol(protocol)
    pull, noisy = _pull_request(base, head), read_inputs(given, chosen)
    statuses, reporter = [], TerminalReporter()
    with connect_with_base(reporter) as engine:
        for slug in pull.changed:
            try:
                done = run_without_labels(HERE, pull, slug, noisy, chosen, output, engine=engine, reporter=reporter)
            except Exception as error:  # whatever one submission causes, the others run
                show_error(error)
                statuses.append(as_harness_error(error).exit_code)
            else:
                outcome = "ran" if done.failure is None else f"failed: {done.failure.message}"
                console(stderr=True).print(f"{slug:<20} {outcome}", highlight=False, soft_wrap=True)
    leave_with_worst(statuses)


@ci.command()
@commits
@protocol_option
@click.argument("folder", type=click.Path(path_type=Path))
@leaderboard_option
@click.option("--features-on", default="cpu", show_default=True, help="Device of the feature extractors: cpu or cuda.")
@json_option
def score(
    base: str, head: str, protocol: str, folder: Path, leaderboard: Path, features_on: str, as_json: bool
) -> None:
    """Score what `harness ci run` wrote to FOLDER; write the records and the board.

    Everything is read as data and compared with the pull request, the protocol and the test set; any difference is
    refused and named. Records and exit status are the same as those of `harness run`.
    """
    from harness.ci.jobs import score_transferred
    from harness.cli.terminal import TerminalReporter
    from harness.protocol import load_protocol

    recorded, refused = score_transferred(
        HERE,
        _pull_request(base, head),
        load_protocol(protocol),
        folder,
        leaderboard=leaderboard,
        reporter=TerminalReporter(),
        feature_device=features_on,
    )
    rows = [outcome(one.slug, status=one.exit_status, text=one.message) for one in refused]
    rows = with_standings([*rows, *map(outcome_of, recorded)], leaderboard)
    print_rows(rows, as_json=as_json)
    leave_with_worst(row["exit"] for row in rows)
