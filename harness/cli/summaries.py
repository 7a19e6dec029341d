"""What `run`, `check`, `score` and `audit` print: scores, standing, a container's log, comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.base.text import counted, figures
from harness.cli._common import console, print_table

if TYPE_CHECKING:
    from rich.text import Text

    from harness.pipeline.evaluate import Evaluation
    from harness.pipeline.trial import Trial
    from harness.protocol import Protocol
    from harness.records.schema import Result
    from harness.reference_check.compare import Comparison
    from harness.scoring.values import Table as Values
    from harness.scoring.values import Value

LOG_LINES = 12  # of a failed container's log: the end of a traceback


def print_scores(result: Result, protocol: Protocol, noisy: Mapping[str, Values] | None = None) -> None:
    """Tables of a result's scores, metric x region, against the label, against the truth and of further slices, first
    the one that ranks; its flags and notes. Below each value stand that of the noisy input (`noisy`, by the names of
    `Result.tables`) and how much more the result's is, unless the value is such a difference itself."""
    from harness.board.words import conditions, names_in
    from harness.scoring.lesions import EXACT, EYE, HOTELLING, less_input

    if result.status != "scored":
        return
    screen = console()
    subject = f"{result.submission.name} on {protocol.identity}"
    titles = {
        "label": "against the label",
        "truth": "against the truth",
        "scans": "bias and noise",
        "coupled": "error without truth",
        "lesions": "lesions",
    }
    tables = result.tables
    first_what_ranks = sorted(titles, key=lambda one: one != protocol.rank_by.reference)
    for name in (name for name in first_what_ranks if tables.get(name)):
        values, columns = tables[name], list[str](protocol.regions)
        inputs = dict((noisy or {}).get(name, {}))
        if name == "lesions":
            named = [one for one in names_in(protocol, name) if one in values and one != EXACT]
            values = {one: values[one] for one in named}
            columns = conditions(protocol, values)
            for metric in (HOTELLING, EYE):
                inputs.pop(less_input(metric), None)
        _print_values(f"{subject}, {titles[name]}", values, columns, inputs)
    screen.print("± half the width of the 95 % interval over patients", highlight=False)
    if noisy:
        screen.print("second lines: the noisy input's value, and how much more the output's is", highlight=False)
    for line in (*(result.flags or ()), *(result.notes or ())):
        screen.print(line, style="yellow", highlight=False, soft_wrap=True)
    for facts in result.extractors.values():
        screen.print(facts.note, highlight=False, soft_wrap=True)


def _print_values(title: str, values: Values, columns: Sequence[str], noisy: Values) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title))  # a submission's name is no markup
    table.add_column("metric")
    for column in columns:
        table.add_column(column, justify="right")
    for metric, regions in values.items():
        cells = [regions.get(column) for column in columns]
        unit = next((cell.unit for cell in cells if cell is not None), "")
        inputs = [noisy.get(metric, {}).get(column) for column in columns]
        label = Text.assemble(f"{metric} {unit}".strip(), ("\n  input, difference" if any(inputs) else "", "dim"))
        table.add_row(label, *(_cell(cell, of_input) for cell, of_input in zip(cells, inputs, strict=True)))
    print_table(table)


def _cell(value: Value | None, of_input: Value | None) -> Text:
    """A value with half of its interval; below it the noisy input's and the difference."""
    from rich.text import Text

    if value is None:
        return Text("–")
    half = "" if value.low is None or value.high is None else f" ±{figures((value.high - value.low) / 2, 2)}"
    below = (
        ""
        if of_input is None
        else f"\n{figures(of_input.value, 3)}, {figures(value.value - of_input.value, 2, sign=True)}"
    )
    return Text.assemble(figures(value.value, 3), (half + below, "dim"))


def print_standing(evaluation: Evaluation, protocol: Protocol, leaderboard: Path, *, deterministic: bool) -> None:
    """The end of a run in one panel: its rank or why it has none, its cost, and where its record and page are."""
    from rich.panel import Panel
    from rich.table import Column, Table
    from rich.text import Text

    record, run = evaluation.record, evaluation.run
    lines = _standing(evaluation, protocol, leaderboard)
    if run is not None:
        times = run.costs.times
        first = "" if times.first_output_s is None else f", first output after {times.first_output_s:.2g} s"
        cached = " (from the cache)" if run.reused else ""
        lines["cost"] = (
            f"{counted(len(run.outputs), 'slice')} in {times.run_s:.1f} s{first}; "
            f"peak memory {megabytes(run.costs.peak_memory_bytes)}{cached}"
        )
        if run.repeat is not None:
            lines["repeat"] = f"run {run.repeat.runs} times: {run.repeat}"
    lines["record"] = evaluation.folder + ("" if evaluation.new else f" ({_repeated(record.result)})")
    lines["page"] = str(leaderboard / "site" / protocol.identity / record.result.submission.slug / f"{record.id}.html")
    screen = console()
    if not screen.is_terminal:  # a log has no width at which a path must be broken
        screen.width = max(screen.width, *(len(line) + 16 for line in lines.values()))
    grid = Table.grid(Column(style="bold"), Column(overflow="fold"), padding=(0, 2))
    for name, line in lines.items():
        grid.add_row(name, Text(line))
    colour = "red" if record.result.failure else "green"
    title = Text(f"{record.result.submission.name} on {protocol.identity}")
    screen.print(Panel(grid, title=title, title_align="left", border_style=colour, expand=False), highlight=False)
    if run is not None and run.repeat is not None and run.repeat.differing_slices and deterministic:
        screen.print(
            "the manifest declares it deterministic: seed it with HARNESS_SEED, or declare deterministic: false",
            style="yellow",
            highlight=False,
        )


def _standing(evaluation: Evaluation, protocol: Protocol, leaderboard: Path) -> dict[str, str]:
    """Rank and tier of a record on its board, or the reason why it has none; what is said of its lesions."""
    from harness.board.words import ranked_by
    from harness.cli.outcomes import REPLACED, standings

    result = evaluation.record.result
    if result.failure is not None:
        return {"result": f"{result.status}, not ranked: exit status {result.failure.exit_status}, see below"}
    found = standings(leaderboard).get(evaluation.record.id, REPLACED)
    by = f" by {ranked_by(protocol)}" if found.text.startswith("rank") else ""
    return {"result": found.text + by} | ({"lesions": found.lesions} if found.lesions else {})


def _repeated(result: Result) -> str:
    """What it means that a result's record was there already."""
    if result.failure is not None:
        return "exists already: it failed in the same way before"
    return "exists already, same result: equal outputs, every value within tolerance"


def print_trial(trial: Trial) -> None:
    """What a check found: that the outputs are valid and what they cost, how far they are from their inputs, what looks
    wrong with them."""
    run, screen = trial.run, console()
    limits, costs = run.limits, run.costs
    gpu = costs.peak_gpu_memory_bytes
    screen.print("valid", style="green", end="")
    screen.print(
        f": {counted(len(run.outputs), 'slice')} in {costs.times.run_s:.1f} s including start-up; "
        f"peak memory {megabytes(costs.peak_memory_bytes)}"
        + (f", GPU {megabytes(gpu)}" if gpu is not None else "")
        + f"\nlimits: {limits.wall_s:g} s, {limits.memory_gb:g} GB of memory, {limits.cpus:g} cores",
        highlight=False,
    )
    for line in run.lowered:
        screen.print(f"lowered on this machine: {line}", highlight=False)
    scale, unit = trial.hu_per_level or 1.0, "grey levels" if trial.hu_per_level is None else "HU"
    apart = trial.differences
    mean = sum(one.mean for one in apart.values()) / len(apart) * scale
    rms = sum(one.rms for one in apart.values()) / len(apart) * scale
    screen.print(
        f"output less input: {figures(mean, 2, sign=True)} {unit} on average, {figures(rms, 3)} {unit} RMS ("
        + ", ".join(f"{name} {figures(one.rms * scale, 3)}" for name, one in list(apart.items())[:8])
        + ")",
        highlight=False,
        soft_wrap=True,
    )
    for line in trial.slips:
        screen.print(f"looks wrong: {line}", style="bold yellow", highlight=False, soft_wrap=True)
    screen.print(f"look at it: {trial.sheet} (input, output, difference)", highlight=False, soft_wrap=True)


def print_log(slug: str, *, shown: bool) -> None:
    """The end of a failed container's log, unless the protocol publishes none, and the file that holds more of it."""
    from harness.run.execute import log_file

    path = log_file(slug)
    said = path.read_text().strip().splitlines() if path.is_file() else []
    if said:
        screen = console(stderr=True)
        head = f"end of its log, {path}:" if shown else f"its log, which is not published: {path}"
        screen.print(head, highlight=False, soft_wrap=True)
        for line in said[-LOG_LINES:] if shown else ():
            screen.print(f"  {line}", style="dim", highlight=False, soft_wrap=True)


def megabytes(value: int | None) -> str:
    """Bytes as megabytes, or "unknown"."""
    return "unknown" if value is None else f"{value / 1e6:.0f} MB"


def print_comparisons(comparisons: Sequence[Comparison]) -> None:
    """Tables of a record's values beside those of the reference tools, one for each origin of the tools' values."""
    from rich.table import Table
    from rich.text import Text

    from harness.records.agreement import STATED

    for origin in dict.fromkeys(one.of for one in comparisons):
        table = Table(
            "against", "metric", "tool", "ours", "theirs", "regions", "largest difference", "", title=f"from {origin}"
        )
        lines = [one for one in comparisons if one.of == origin]
        for line in dict.fromkeys((one.reference, one.metric, one.tool) for one in lines):
            regions = [one for one in lines if (one.reference, one.metric, one.tool) == line]
            shown = next((one for one in regions if one.region == "whole"), regions[0])
            largest = max(abs(one.ours - one.theirs) / max(abs(one.theirs), 1e-12) for one in regions)
            verdict = "agrees" if all(one.agrees for one in regions) else Text("differs", "red")
            values = (f"{shown.ours:.6g}", f"{shown.theirs:.6g}", str(len(regions)), f"{largest:.0e}", verdict)
            table.add_row(*line, *values)
        print_table(table)
    agreeing = sum(one.agrees for one in comparisons)
    console().print(
        f"{agreeing} of {len(comparisons)} values agree: {STATED}, or within 1e-6 of the terms that a distance is the "
        "difference of. Shown are the values of the whole image (or the first region) and the largest relative "
        "difference over all regions (--json lists every value)."
    )
