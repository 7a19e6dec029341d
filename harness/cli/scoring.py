"""`run` and `check`: a submission on a protocol."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from harness.cli._common import console, json_option, leaderboard_option, print_failure, print_json, protocol_option

if TYPE_CHECKING:
    from harness.pipeline import Evaluation
    from harness.protocol import Protocol


@click.command()
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
        print_json(evaluation.record)
    else:
        _print_evaluation(evaluation, benchmark, leaderboard)
    failure = evaluation.record.result.failure
    if failure is not None:
        print_failure(failure.stage, failure.exit_status, failure.party, failure.message, failure.fix)
        sys.exit(failure.exit_status)


def _print_evaluation(evaluation: Evaluation, protocol: Protocol, leaderboard: Path) -> None:
    from rich.table import Table

    from harness.board.build import rank_all

    screen = console()
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
                unit = next((cell.unit for cell in cells if cell is not None), "")
                table.add_row(f"{metric} {unit}".strip(), *("–" if cell is None else _value(cell) for cell in cells))
            screen.print(table)
        screen.print("± half of the 95 % interval over patients", highlight=False)
        for facts in result.extractors.values():
            screen.print(facts.note, markup=False, highlight=False, soft_wrap=True)
    for board, rows in rank_all(leaderboard):
        for row in rows:
            if (board.identity, row.record.id) == (protocol.identity, evaluation.record.id) and not result.failure:
                place = f"rank {row.rank} of {sum(one.rank is not None for one in rows)}" if row.rank else "not ranked"
                place += f" (tier {row.tier})" if row.tier else ""
                reason = f": {row.reason}" if row.reason else f" by {protocol.rank_by.metric}"
                screen.print(f"{place}{reason}", markup=False, highlight=False, soft_wrap=True)
    word = "new record" if evaluation.new else "same result as the record that is there"
    screen.print(f"{word}: {evaluation.folder}", markup=False, highlight=False, soft_wrap=True)


def _value(value: Any) -> str:
    if value.low is None:
        return f"{value.value:.3g}"
    return f"{value.value:.3g} [dim]±{(value.high - value.low) / 2:.2g}[/]"


@click.command()
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
    screen = console()
    screen.print(
        f"[green]valid[/]: {len(dataset.cases)} slices in {done.run_s:.1f} s, start included; "
        f"peak memory {_megabytes(done.peak_memory_bytes)}"
    )
    for line in done.lowered:
        screen.print(f"lowered on this machine: {line}", highlight=False)


def _megabytes(value: int | None) -> str:
    return "unknown" if value is None else f"{value / 1e6:.0f} MB"


@click.command()
@protocol_option
@leaderboard_option
@click.option("--features-on", default="cpu", show_default=True, help="Device that the extractors run on: cpu, cuda.")
def anchors(protocol: str, leaderboard: Path, features_on: str) -> None:
    """Score a protocol's reference rows: noisy input, blurs, weak denoiser and, on the phantom, truth."""
    from harness.protocol import load_protocol

    benchmark = load_protocol(protocol)

    from harness.pipeline import evaluate_anchors
    from harness.terminal import TerminalReporter

    done = evaluate_anchors(benchmark, leaderboard=leaderboard, reporter=TerminalReporter(), feature_device=features_on)
    by = benchmark.rank_by
    for record in done:
        value = record.result.metrics[by.metric][by.region]
        click.echo(f"{by.metric} {value.value:.4g}  {record.result.submission.name}")
