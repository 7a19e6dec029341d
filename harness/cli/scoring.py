"""`run`, `check`, `score`, `anchors`: scores on a protocol; `audit`: whether a record's are right."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from harness.base.text import first_few
from harness.cli._common import (
    complete_protocol,
    complete_submission,
    console,
    engine_option,
    json_option,
    leaderboard_option,
    print_failure,
    print_json,
    protocol_option,
    record_folder,
)

if TYPE_CHECKING:
    from harness.pipeline.evaluate import Evaluation
    from harness.protocol import Protocol
    from harness.records.schema import Result


LOG_LINES = 12  # of a failed container that `check` shows: a traceback's end

features_option = click.option(
    "--features-on", default="cpu", show_default=True, help="Device that the extractors run on: cpu, cuda."
)


@click.command()
@click.argument(
    "submissions",
    nargs=-1,
    required=True,
    metavar="SUBMISSION...",
    type=click.Path(path_type=Path),
    shell_complete=complete_submission,
)
@protocol_option
@leaderboard_option
@click.option("--fresh", is_flag=True, help="Run the container again even if the same run is in the cache.")
@click.option(
    "--repeat",
    type=click.IntRange(1, 20),
    default=1,
    show_default=True,
    help="Run the container so many times and say by how much its outputs differ.",
)
@click.option("--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Submissions side by side.")
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
    share: tuple[int, int],
    features_on: str,
    as_json: bool,
) -> None:
    """Run submissions on a protocol, score them, write their records and the board.

    Several go one after another, each in a process of its own, or --jobs N side by side with equal shares of the
    machine. What fails does not stop the others; a table at the end says what became of each, and the exit status is
    the first of 50, 40, 30 to 10, 2 that any of them had.
    """
    if len(submissions) > 1:
        from harness.cli.many import run_many

        options = ["--repeat", str(repeat), "--features-on", features_on, *(["--fresh"] if fresh else [])]
        run_many(submissions, protocol, leaderboard, jobs=jobs, options=options, as_json=as_json)
        return
    (submission,) = submissions

    from harness.protocol import load_protocol
    from harness.submission.manifest import load_submission

    benchmark, entry = load_protocol(protocol), load_submission(submission)

    from harness.cli.terminal import TerminalReporter
    from harness.engines import connect
    from harness.pipeline.evaluate import evaluate

    with connect() as engine:
        evaluation = evaluate(
            entry,
            benchmark,
            leaderboard=leaderboard,
            engine=engine,
            reporter=TerminalReporter(),
            feature_device=features_on,
            fresh=fresh,
            share=share,
            repeat=repeat,
        )
    if as_json:
        print_json(evaluation.record)
    else:
        _print_scores(evaluation.record.result, benchmark)
        _print_place(evaluation, benchmark, leaderboard, deterministic=entry.manifest.deterministic)
    failure = evaluation.record.result.failure
    if failure is not None:
        print_failure(failure.stage, failure.exit_status, failure.party, failure.message, failure.fix)
        sys.exit(failure.exit_status)


def _print_scores(result: Result, protocol: Protocol) -> None:
    from rich.table import Table

    screen = console()
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
        for line in (*(result.flags or ()), *(result.notes or ())):
            screen.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
        for facts in result.extractors.values():
            screen.print(facts.note, markup=False, highlight=False, soft_wrap=True)


def _print_place(evaluation: Evaluation, protocol: Protocol, leaderboard: Path, *, deterministic: bool) -> None:
    """The end of a run in one panel: where it stands and why, what it cost, and where record and page are."""
    from rich.panel import Panel
    from rich.table import Column, Table
    from rich.text import Text

    record, run = evaluation.record, evaluation.run
    lines = {"result": _standing(evaluation, protocol, leaderboard)}
    if run is not None:
        times = run.costs.times
        first = "" if times.first_output_s is None else f", the first after {times.first_output_s:.2g} s"
        cached = " (a cached run)" if run.reused else ""
        lines["cost"] = (
            f"{len(run.outputs)} slices in {times.run_s:.1f} s{first}; "
            f"peak memory {_megabytes(run.costs.peak_memory_bytes)}{cached}"
        )
        if run.repeat is not None:
            lines["repeat"] = f"run {run.repeat.runs} times: {run.repeat}"
    lines["record"] = evaluation.folder + ("" if evaluation.new else " (there already, with the same result)")
    lines["page"] = str(leaderboard / "site" / protocol.identity / record.result.submission.slug / f"{record.id}.html")
    screen = console()
    if not screen.is_terminal:  # a log has no width that a path would have to be broken at
        screen.width = max(screen.width, *(len(line) + 16 for line in lines.values()))
    grid = Table.grid(Column(style="bold"), Column(overflow="fold"), padding=(0, 2))
    for name, line in lines.items():
        grid.add_row(name, Text(line))
    colour = "red" if record.result.failure else "green"
    title = Text(f"{record.result.submission.name} on {protocol.identity}")
    screen.print(Panel(grid, title=title, title_align="left", border_style=colour, expand=False), highlight=False)
    if run is not None and run.repeat is not None and run.repeat.differing_slices and deterministic:
        screen.print(
            "the manifest calls it deterministic: seed it by HARNESS_SEED, or say deterministic: false",
            style="yellow",
            highlight=False,
        )


def _standing(evaluation: Evaluation, protocol: Protocol, leaderboard: Path) -> str:
    """Rank and tier of a record on its board, or why it has none."""
    from harness.board.build import rank_all

    failure = evaluation.record.result.failure
    if failure is not None:
        return f"{evaluation.record.result.status}, not ranked: exit status {failure.exit_status}, explained below"
    boards = {board.identity: rows for board, rows in rank_all(leaderboard)}
    rows = boards[protocol.identity]
    row = next((one for one in rows if one.record.id == evaluation.record.id), None)
    if row is None:
        return "not on the board: a newer record of this submission stands there"
    if row.rank is None:
        return f"scored, not ranked: {row.reason}"
    by, tier = protocol.rank_by, f" (tier {row.tier})" if row.tier else ""
    return f"rank {row.rank} of {sum(one.rank is not None for one in rows)}{tier} by {by.metric}, {by.region}"


def _value(value: Any) -> str:
    if value.low is None:
        return f"{value.value:.3g}"
    return f"{value.value:.3g} [dim]±{(value.high - value.low) / 2:.2g}[/]"


@click.command()
@click.argument("submission", type=click.Path(path_type=Path), shell_complete=complete_submission)
@click.option(
    "-p",
    "--protocol",
    default="phantom-mini",
    show_default=True,
    help="Protocol whose limits and data to use.",
    shell_complete=complete_protocol,
)
@click.option("--slices", default=3, show_default=True, help="How many slices to run.")
@engine_option
@leaderboard_option
def check(submission: Path, protocol: str, slices: int, leaderboard: Path) -> None:
    """Run a few slices under the production limits and say whether the outputs are valid. Nothing is scored."""
    from harness.protocol import load_protocol
    from harness.submission.manifest import load_submission

    benchmark, entry = load_protocol(protocol), load_submission(submission)

    from harness.base.errors import ContainerError
    from harness.cli.terminal import TerminalReporter
    from harness.engines import connect
    from harness.pipeline.attempt import check as try_out

    screen = console()
    try:
        with connect() as engine:
            done = try_out(
                entry, benchmark, slices=slices, leaderboard=leaderboard, engine=engine, reporter=TerminalReporter()
            )
    except ContainerError:
        _print_log(entry.slug)
        raise
    limits, costs = done.limits, done.costs
    gpu = costs.peak_gpu_memory_bytes
    screen.print(
        f"[green]valid[/]: {len(done.outputs)} slices in {costs.times.run_s:.1f} s, start included; "
        f"peak memory {_megabytes(costs.peak_memory_bytes)}"
        + (f", of the GPU {_megabytes(gpu)}" if gpu is not None else "")
        + f"\nlimits: {limits.wall_s:g} s, {limits.memory_gb:g} GB of memory, {limits.cpus:g} cores",
        highlight=False,
    )
    for line in done.lowered:
        screen.print(f"lowered on this machine: {line}", highlight=False)
    screen.print(f"next: harness run {submission}", markup=False, highlight=False, soft_wrap=True)


def _print_log(slug: str) -> None:
    """The end of what a container said before it failed, and where more of it is."""
    from harness.run.execute import log_file

    path = log_file(slug)
    said = path.read_text().strip().splitlines() if path.is_file() else []
    if said:
        screen = console(stderr=True)
        screen.print(f"the end of its log, {path}:", markup=False, highlight=False, soft_wrap=True)
        for line in said[-LOG_LINES:]:
            screen.print(f"  {line}", style="dim", markup=False, highlight=False, soft_wrap=True)


def _megabytes(value: int | None) -> str:
    return "unknown" if value is None else f"{value / 1e6:.0f} MB"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@protocol_option
@click.option("--record", "slug", metavar="SLUG", help="Write a record under this slug: self-reported, never ranked.")
@leaderboard_option
@features_option
@json_option
def score(folder: Path, protocol: str, slug: str | None, leaderboard: Path, features_on: str, as_json: bool) -> None:
    """Score outputs made elsewhere, without a container: one <case>.png for every case of a protocol's data.

    `harness labels -o` writes the inputs (lq/) whose names they bear. The same code as `harness run`; what a folder
    holds nobody has seen made, so the scores are marked self-reported and never rank.
    """
    from harness.protocol import load_protocol

    benchmark = load_protocol(protocol)

    from harness.cli.terminal import TerminalReporter
    from harness.pipeline.evaluate import evaluate_folder
    from harness.submission.manifest import check_slug

    record, written = evaluate_folder(
        folder,
        benchmark,
        reporter=TerminalReporter(),
        feature_device=features_on,
        leaderboard=leaderboard,
        slug=check_slug(slug) if slug else folder.resolve().name,
        keep=slug is not None,
    )
    if as_json:
        print_json(record)
        return
    _print_scores(record.result, benchmark)
    place = f"record: {written}" if written else "no record written (--record SLUG writes one)"
    console().print(f"self-reported, not ranked; {place}", markup=False, highlight=False, soft_wrap=True)


@click.command()
@click.argument("record", type=click.Path(path_type=Path))
@leaderboard_option
@click.option("--outputs", type=click.Path(path_type=Path), help="Folder of the outputs: <case>.png for every case.")
@json_option
def audit(record: Path, leaderboard: Path, outputs: Path | None, as_json: bool) -> None:
    """Recompute a record's values with clean-fid, torchmetrics and others, and print ours and theirs side by side.

    RECORD is its folder or its id. Begins with the images where there are any (--outputs, a cached run of this machine,
    an anchor), else with the features that the record keeps.
    """
    from harness.base.errors import ScoringError
    from harness.cli.terminal import TerminalReporter
    from harness.pipeline.evaluate import audit as audit_by_reference

    folder = record_folder(record, leaderboard)
    checks = audit_by_reference(folder, TerminalReporter(), outputs=outputs)
    differ = [one for one in checks if not one.agrees]
    if as_json:
        print_json(checks)
    else:
        from rich.table import Table

        for origin in dict.fromkeys(one.of for one in checks):
            table = Table(
                "against", "metric", "tool", "ours", "theirs", "regions", "largest", "", title=f"from {origin}"
            )
            lines = [one for one in checks if one.of == origin]
            for line in dict.fromkeys((one.reference, one.metric, one.tool) for one in lines):
                regions = [one for one in lines if (one.reference, one.metric, one.tool) == line]
                shown = next((one for one in regions if one.region == "whole"), regions[0])
                largest = max(abs(one.ours - one.theirs) / max(abs(one.theirs), 1e-12) for one in regions)
                verdict = "equal" if all(one.agrees for one in regions) else "[red]differs[/]"
                values = (f"{shown.ours:.6g}", f"{shown.theirs:.6g}", str(len(regions)), f"{largest:.0e}", verdict)
                table.add_row(*line, *values)
            console().print(table)
        console().print(
            f"{len(checks) - len(differ)} of {len(checks)} values are the reference tools', within 1e-4 or 1e-6 of the "
            "terms that a distance is the difference of. Shown are those of the whole image (or the first region), "
            "and the largest relative difference of all regions (--json has every one)."
        )
    if differ:
        named = ", ".join(
            first_few([f"{one.metric} ({one.region}, {one.reference}, {one.tool})" for one in differ], at_most=5)
        )
        raise ScoringError(
            f"{record}: {len(differ)} of {len(checks)} values are not the reference tools': {named}",
            fix="compare the record's harness version and machine with this one's",
        )


@click.command()
@protocol_option
@leaderboard_option
@features_option
def anchors(protocol: str, leaderboard: Path, features_on: str) -> None:
    """Score a protocol's reference rows: noisy input, blurs, weak denoiser and, on the phantom, truth."""
    from harness.protocol import load_protocol

    benchmark = load_protocol(protocol)

    from harness.cli.terminal import TerminalReporter
    from harness.pipeline.evaluate import evaluate_anchors

    done = evaluate_anchors(benchmark, leaderboard=leaderboard, reporter=TerminalReporter(), feature_device=features_on)
    by = benchmark.rank_by
    for record in done:
        value = record.result.metrics[by.metric][by.region]
        click.echo(f"{by.metric} {value.value:.4g}  {record.result.submission.name}")
