"""The command `harness`: verbs -> pipeline, errors -> exit status.

Stages are imported inside the verbs: `harness --help` must not wait for torch.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import rich_click as click
from click.exceptions import Exit

from harness import __version__
from harness.errors import HarnessError, InfrastructureError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from harness.pipeline import Evaluation
    from harness.protocol import Protocol

INTERRUPTED = 130
BLAME = {
    "usage": "the way the harness was called or the protocol, data or manifest it read",
    "submission": "the submission",
    "infrastructure": "this machine, not the submission",
}


def main() -> NoReturn:
    """Entry point: run a verb; print a HarnessError with its fix and leave with its exit status."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        cli.main(standalone_mode=False)
    except Exit as leave:
        sys.exit(leave.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(UsageError.exit_code)
    except (KeyboardInterrupt, click.Abort):
        print("interrupted: the container is gone, what was finished is kept", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except HarnessError as error:
        _show(error)
        sys.exit(error.exit_code)
    except OSError as error:
        from harness.files import cache_root

        place = error.filename or f"the disk of the cache folder, {cache_root()}"
        _show(InfrastructureError(f"{place}: {error.strerror}", fix="mend it, or set HARNESS_CACHE to another place"))
        sys.exit(InfrastructureError.exit_code)
    sys.exit(0)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    """SIGTERM ends a run as Ctrl-C does: the container is removed first."""
    raise KeyboardInterrupt


def _show(error: HarnessError) -> None:
    _print_failure(error.stage, error.exit_code, error.party, error.message, error.fix)


def _print_failure(stage: str, exit_status: int, party: str, message: str, fix: str) -> None:
    console = _console(stderr=True)
    console.print(f"[bold red]failed[/] at stage [bold]{stage}[/], exit status {exit_status}")
    console.print("what:  " + message, markup=False, highlight=False, soft_wrap=True)
    console.print("whose: " + BLAME[party], markup=False, highlight=False, soft_wrap=True)
    if fix:
        console.print("do:    " + fix, markup=False, highlight=False, soft_wrap=True)


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


protocol_option = click.option("-p", "--protocol", default="phantom", show_default=True, help="Protocol name or file.")
leaderboard_option = click.option(
    "--leaderboard", type=click.Path(path_type=Path, file_okay=False), default=Path("leaderboard"), show_default=True
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="harness")
def cli() -> None:
    """Score ultra-low-dose lung CT denoisers that come as containers."""


@cli.command()
@click.argument("submission", type=click.Path(path_type=Path))
@protocol_option
@leaderboard_option
@click.option("--fresh", is_flag=True, help="Run the container again even if the same run is in the cache.")
@click.option("--features-on", default="cpu", show_default=True, help="Device that the extractors run on: cpu, cuda.")
@json_option
def run(submission: Path, protocol: str, leaderboard: Path, fresh: bool, features_on: str, as_json: bool) -> None:
    """Run a submission on a protocol, score it, write its record and the board row."""
    from harness.protocol import load_protocol
    from harness.submission import load_submission

    benchmark, entry = load_protocol(protocol), load_submission(submission)

    from harness.engines import connect
    from harness.pipeline import evaluate
    from harness.terminal import TerminalReporter

    with connect() as engine:
        evaluation = evaluate(
            entry,
            benchmark,
            leaderboard=leaderboard,
            engine=engine,
            reporter=TerminalReporter(),
            feature_device=features_on,
            fresh=fresh,
        )
    if as_json:
        _print_json(evaluation.record)
    else:
        _print_evaluation(evaluation, benchmark, leaderboard)
    failure = evaluation.record.result.failure
    if failure is not None:
        _print_failure(failure.stage, failure.exit_status, failure.party, failure.message, failure.fix)
        sys.exit(failure.exit_status)


def _print_evaluation(evaluation: Evaluation, protocol: Protocol, leaderboard: Path) -> None:
    from rich.table import Table

    from harness.board.build import rank_all

    console = _console()
    result = evaluation.record.result
    if result.status == "scored":
        references = {"label": result.metrics} | ({"truth": result.truth} if result.truth else {})
        for reference, values in references.items():
            table = Table(title=f"{result.submission.name} on {protocol.identity}, against the {reference}")
            table.add_column("metric")
            for region in protocol.regions:
                table.add_column(region, justify="right")
            for metric, regions in values.items():
                cells = [regions.get(region) for region in protocol.regions]
                table.add_row(metric, *("–" if cell is None else _value(cell) for cell in cells))
            console.print(table)
        console.print("± half of the 95 % interval over patients", highlight=False)
        for facts in result.extractors.values():
            console.print(facts.note, markup=False, highlight=False, soft_wrap=True)
    for board, rows in rank_all(leaderboard):
        for row in rows:
            if (board.identity, row.record.id) == (protocol.identity, evaluation.record.id) and not result.failure:
                place = f"rank {row.rank} of {sum(one.rank is not None for one in rows)}" if row.rank else "not ranked"
                reason = f": {row.reason}" if row.reason else f" by {protocol.rank_by.metric}"
                console.print(f"{place}{reason}", markup=False, highlight=False, soft_wrap=True)
    word = "new record" if evaluation.new else "same result as the record that is there"
    console.print(f"{word}: {evaluation.folder}", markup=False, highlight=False, soft_wrap=True)


def _value(value: Any) -> str:
    if value.low is None:
        return f"{value.value:.3g}"
    return f"{value.value:.3g} [dim]±{(value.high - value.low) / 2:.2g}[/]"


def _print_json(value: Any) -> None:
    import msgspec

    print(json.dumps(msgspec.to_builtins(value), indent=1, sort_keys=True, ensure_ascii=False))


@cli.command()
@click.argument("submission", type=click.Path(path_type=Path))
@click.option(
    "-p", "--protocol", default="phantom-mini", show_default=True, help="Protocol whose limits and data to use."
)
@click.option("--slices", default=3, show_default=True, help="How many slices to run.")
def check(submission: Path, protocol: str, slices: int) -> None:
    """Run a few slices under the production limits and say whether the outputs are valid. Nothing is scored."""
    from harness.protocol import load_protocol
    from harness.submission import load_submission

    benchmark, entry = load_protocol(protocol), load_submission(submission)

    from harness.data import first_cases, load_data
    from harness.engines import connect
    from harness.run import run_submission
    from harness.terminal import TerminalReporter

    reporter = TerminalReporter()
    with reporter.stage("data") as progress:
        dataset = first_cases(load_data(benchmark, progress=progress), slices)
    with connect() as engine, reporter.stage("run") as progress:
        done = run_submission(
            entry, dataset, benchmark.limits, seed=benchmark.seed, engine=engine, fresh=True, progress=progress
        )
    console = _console()
    console.print(
        f"[green]valid[/]: {len(dataset.cases)} slices in {done.run_s:.1f} s, start included; "
        f"peak memory {_megabytes(done.peak_memory_bytes)}"
    )
    for line in done.lowered:
        console.print(f"lowered on this machine: {line}", highlight=False)


def _megabytes(value: int | None) -> str:
    return "unknown" if value is None else f"{value / 1e6:.0f} MB"


@cli.command()
@protocol_option
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder to write to (new).")
def labels(protocol: str, output: Path) -> None:
    """Build a protocol's purified test labels and copy them, with inputs and targets, to a folder."""
    from harness.protocol import load_protocol

    benchmark = load_protocol(protocol)

    from harness.pipeline import export_labels, prepare
    from harness.terminal import TerminalReporter

    dataset, label_set = prepare(benchmark, TerminalReporter())
    export_labels(dataset, label_set, output)
    click.echo(f"{len(dataset.cases)} labels: {output}")


@cli.group()
def weights() -> None:
    """Published extractor weights: what is here, import a file, download."""


@weights.command(name="list")
@json_option
def weights_list(as_json: bool) -> None:
    """What the extractors need, whether it is here, and where it is published."""
    from harness.features.weights import KNOWN, folders, locate

    rows = []
    for file in KNOWN:
        path = locate(file)
        rows.append(
            {"extractor": file.extractor, "file": file.name, "here": str(path) if path else "no", "source": file.url}
        )
    _print_rows(rows, as_json=as_json)
    _console(stderr=True).print(
        f"looked for in: {', '.join(map(str, folders()))}\none file an extractor is enough; "
        "without network: fetch it on any machine, then `harness weights import FILE`",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@weights.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
def weights_import(file: Path) -> None:
    """Check a file's SHA-256 against the published ones and copy it into the cache."""
    from harness.features.weights import import_file

    click.echo(f"verified and copied to {import_file(file)}")


@weights.command(name="download")
@click.argument("extractor")
def weights_download(extractor: str) -> None:
    """Download an extractor's published weights (https, SHA-256 checked)."""
    from harness.features.weights import fetch

    click.echo(f"verified: {fetch(extractor)}")


@weights.command(name="verify")
def weights_verify() -> None:
    """Check the SHA-256 of every weight file that is here."""
    from harness.features.weights import KNOWN, locate, verify

    for file in KNOWN:
        path = locate(file)
        if path:
            verify(path, file)
            click.echo(f"as published: {path}")


@cli.command()
@leaderboard_option
@click.option("--check", "only_check", is_flag=True, help="Write nothing; fail if the tables are stale.")
def board(leaderboard: Path, only_check: bool) -> None:
    """Rebuild the leaderboard's tables from its records."""
    from harness.board.build import check_board, write_board

    if only_check:
        check_board(leaderboard)
        click.echo("the tables are what the records give")
    else:
        for path in write_board(leaderboard):
            click.echo(str(path))


@cli.command(name="list")
@click.argument("what", type=click.Choice(["protocols", "submissions", "records"]), default="protocols")
@leaderboard_option
@json_option
def list_(what: str, leaderboard: Path, as_json: bool) -> None:
    """List the protocols, the submissions below submissions/, or the records of a leaderboard."""
    rows: list[dict[str, Any]]
    if what == "protocols":
        from harness.protocol import load_protocol, protocol_names

        protocols = [load_protocol(name) for name in protocol_names()]
        rows = [{"name": one.name, "version": one.version, "title": one.title} for one in protocols]
    elif what == "submissions":
        from harness.submission import MANIFEST, load_submission

        entries = [load_submission(path.parent) for path in sorted(Path("submissions").glob(f"*/{MANIFEST}"))]
        rows = [{"slug": one.slug, "name": one.manifest.name, "version": one.manifest.version} for one in entries]
    else:
        from harness.record import read_records

        rows = [
            {
                "id": one.id,
                "protocol": f"{one.result.protocol.name}-{one.result.protocol.version}",
                "slug": one.result.submission.slug,
                "status": one.result.status,
                "date": one.observed.date,
            }
            for one in read_records(leaderboard)
        ]
    _print_rows(rows, as_json=as_json)


def _print_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        _print_json(rows)
        return
    from rich.table import Table

    table = Table(*(rows[0] if rows else ["nothing there"]))
    for row in rows:
        table.add_row(*(str(cell) for cell in row.values()))
    _console().print(table)
