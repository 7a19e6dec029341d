"""`ci`: the submissions of a pull request checked, run where no label is, and scored from what was handed over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from harness.cli._common import console, json_option, leaderboard_option, print_rows, protocol_option, show_error
from harness.cli.many import leave_with_worst

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.ci.pull_request import PullRequest

HERE = Path()  # the clone that the command is given in


def commits(verb: Callable[..., None]) -> Callable[..., None]:
    """The options that say which two commits a pull request lies between."""
    verb = click.option("--head", default="HEAD", show_default=True, help="What it ends with: a commit, a branch.")(
        verb
    )
    return click.option("--base", required=True, help="What it is to be merged into: a commit, a branch.")(verb)


def _pull_request(base: str, head: str) -> PullRequest:
    from harness.ci.pull_request import read_pull_request

    return read_pull_request(HERE, base=base, head=head)


@click.group()
def ci() -> None:
    """Submissions that come as pull requests (docs/ci.md): check, run apart from the labels, score."""


@ci.command()
@commits
@click.option(
    "-p", "--protocol", default="phantom-mini", show_default=True, help="Protocol whose limits and data to use."
)
@click.option("--slices", default=3, show_default=True, help="How many slices to run.")
@leaderboard_option
def check(base: str, head: str, protocol: str, slices: int, leaderboard: Path) -> None:
    """Check every submission that a pull request adds or changes, and print the verdict as markdown.

    Manifest, build, and a few slices under the production limits. The pull request is refused if it touches the
    leaderboard, or mixes submissions with anything else. Only git's objects are read: nothing is checked out.
    """
    from harness.base.errors import UsageError
    from harness.ci.verdicts import as_markdown, check_all, quoted
    from harness.protocol import load_protocol

    try:
        pull = _pull_request(base, head)
    except UsageError as error:
        click.echo("Refused:\n\n" + quoted(f"{error.message}\ndo: {error.fix}"))
        raise

    benchmark = load_protocol(protocol)
    verdicts = []
    if pull.changed:
        from harness.cli.terminal import TerminalReporter
        from harness.engines import connect

        with connect() as engine:
            verdicts = check_all(
                HERE,
                pull,
                benchmark,
                slices=slices,
                leaderboard=leaderboard,
                engine=engine,
                reporter=TerminalReporter(),
            )
    click.echo(as_markdown(pull, verdicts), nl=False)
    leave_with_worst(one.exit_status for one in verdicts)


@ci.command()
@protocol_option
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write to (new).")
@leaderboard_option
def inputs(protocol: str, output: Path, leaderboard: Path) -> None:
    """Write a protocol's noisy slices for `harness ci run`: once, for the machine that runs the containers."""
    from harness.ci.handover import write_inputs
    from harness.cli.terminal import TerminalReporter
    from harness.dataset.load import load_data
    from harness.protocol import load_protocol

    benchmark = load_protocol(protocol)
    with TerminalReporter().stage("data") as progress:
        dataset = load_data(benchmark, leaderboard=leaderboard, progress=progress)
    write_inputs(dataset, benchmark, output)
    click.echo(f"{len(dataset.cases)} noisy slices: {output}")


@ci.command()
@commits
@protocol_option
@click.option(
    "--inputs", "given", required=True, type=click.Path(path_type=Path), help="As `harness ci inputs` wrote them."
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for what is handed over.")
def run(base: str, head: str, protocol: str, given: Path, output: Path) -> None:
    """Run a pull request's submissions on the whole protocol, without labels, and write what is to be scored.

    A folder a submission: run.json and outputs/. The exit status is 0 where each is there, whether its container
    ended well or not: that is for `harness ci score` to tell.
    """
    from harness.base.errors import HarnessError
    from harness.base.files import refuse_existing
    from harness.ci.handover import read_inputs
    from harness.ci.verdicts import run_apart
    from harness.cli.terminal import TerminalReporter
    from harness.engines import connect
    from harness.protocol import load_protocol

    refuse_existing(output)
    benchmark = load_protocol(protocol)
    pull, noisy = _pull_request(base, head), read_inputs(given, benchmark)
    statuses = []
    with connect() as engine:
        for slug in pull.changed:
            try:
                handed = run_apart(
                    HERE, pull, slug, noisy, benchmark, output, engine=engine, reporter=TerminalReporter()
                )
            except HarnessError as error:
                show_error(error)
                statuses.append(error.exit_code)
            else:
                word = "ran" if handed.failure is None else f"failed: {handed.failure.message}"
                console(stderr=True).print(f"{slug:<20} {word}", markup=False, highlight=False, soft_wrap=True)
    leave_with_worst(statuses)


@ci.command()
@commits
@protocol_option
@click.argument("folder", type=click.Path(path_type=Path))
@leaderboard_option
@click.option("--features-on", default="cpu", show_default=True, help="Device that the extractors run on: cpu, cuda.")
@json_option
def score(
    base: str, head: str, protocol: str, folder: Path, leaderboard: Path, features_on: str, as_json: bool
) -> None:
    """Score what `harness ci run` wrote to FOLDER; write the records and the board.

    Everything is read as data and held against the pull request, the protocol and the test set; what differs is
    refused by name. Record and exit status are those that `harness run` would have given.
    """
    from harness.ci.verdicts import score_all
    from harness.cli.terminal import TerminalReporter
    from harness.protocol import load_protocol

    done, refused = score_all(
        HERE,
        _pull_request(base, head),
        load_protocol(protocol),
        folder,
        leaderboard=leaderboard,
        reporter=TerminalReporter(),
        feature_device=features_on,
    )
    rows = [{"submission": one.slug, "exit": one.exit_status, "outcome": one.said, "record": ""} for one in refused]
    for evaluation in done:
        result = evaluation.record.result
        outcome = "scored" if result.failure is None else result.failure.message
        status = 0 if result.failure is None else result.failure.exit_status
        rows.append(
            {"submission": result.submission.slug, "exit": status, "outcome": outcome, "record": evaluation.record.id}
        )
    print_rows(rows, as_json=as_json)
    leave_with_worst(int(str(row["exit"])) for row in rows)
