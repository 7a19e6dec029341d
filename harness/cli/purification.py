"""`labels`, `pairs` and `noise`: purified labels, training pairs, and the noise of one's own slices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from harness.base.text import first_few
from harness.cli._common import console, json_option, leaderboard_option, print_json, print_rows, protocol_option

if TYPE_CHECKING:
    from harness.protocol import Protocol

output_option = click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder to write to (new).")


def recipe_options(verb: Callable[..., None]) -> Callable[..., None]:
    """The options that stand for a part of the protocol's purify."""
    for option in (
        click.option(
            "--weak-denoiser", help="Name (nlm, tv, cnn) or the folder of a submission.  [default: protocol's]"
        ),
        click.option("--variant", type=click.Choice(["published", "corrected"]), help="[default: protocol's]"),
        click.option("--strategy", type=click.Choice(["ipv1", "rb", "an", "ipv2"]), help="[default: protocol's]"),
    ):
        verb = option(verb)
    return verb


@click.command()
@protocol_option
@recipe_options
@output_option
@click.option("--report", is_flag=True, help="Say whether the labels are any good: gates, ranking, circularity.")
@leaderboard_option
@json_option
def labels(
    protocol: str, output: Path | None, report: bool, leaderboard: Path, as_json: bool, **recipe: str | None
) -> None:
    """Build a protocol's purified test labels; write them with their inputs to a folder (lq/, gt_bar/), or report."""
    if output is None and not report:
        raise click.UsageError("name a folder to write to (-o) or ask for a report (--report)")
    benchmark = _with_recipe(protocol, recipe)

    from harness.base.files import refuse_existing
    from harness.cli.terminal import TerminalReporter
    from harness.labels.label_set import write_labels
    from harness.pipeline.evaluate import prepare

    if output is not None:
        refuse_existing(output)
    dataset, label_set = prepare(benchmark, TerminalReporter(), leaderboard=leaderboard)
    if output is not None:
        write_labels(dataset, label_set, benchmark.purify, output)
        click.echo(f"{len(dataset.cases)} labels: {output}", err=as_json)
    if report:
        from rich.table import Table

        from harness.labels.report_tables import tables
        from harness.pipeline.evaluate import audit_labels

        audited = audit_labels(benchmark, dataset, TerminalReporter())
        if as_json:
            print_json(audited)
            return
        for found in tables(audited):
            table = Table(*found.header, title=found.title)
            for row in found.rows:
                table.add_row(*row)
            console().print(table)


@click.command()
@protocol_option
@recipe_options
@click.option("--seed", type=int, help="Of the added noise.  [default: protocol's]")
@click.option("--noise", type=click.Path(path_type=Path), help="Dose and scanner, as `harness noise` writes them.")
@click.option("--leave-out", is_flag=True, help="Leave out slices that cannot be purified, such as those without lung.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder to write to (new).")
@leaderboard_option
def pairs(
    protocol: str,
    seed: int | None,
    noise: Path | None,
    leave_out: bool,
    output: Path,
    leaderboard: Path,
    **recipe: str | None,
) -> None:
    """Write purified training pairs: inputs lq_bar/, targets gt/. An interrupted run goes on when called again."""
    benchmark = _with_recipe(protocol, recipe, noise=noise)

    from harness.cli.terminal import TerminalReporter
    from harness.dataset.load import load_data
    from harness.labels.training_pairs import write_pairs

    reporter = TerminalReporter()
    with reporter.stage("data") as progress:
        dataset = load_data(benchmark, leaderboard=leaderboard, progress=progress)
    with reporter.stage("pairs") as progress:
        written = write_pairs(
            dataset,
            benchmark.purify,
            output,
            seed=benchmark.seed if seed is None else seed,
            leave_out=leave_out,
            progress=progress,
        )
    _warn("left out", written.left_out)
    _warn("purified, but look at them", written.implausible)
    click.echo(f"{written.count} pairs: {output}")


@click.command()
@protocol_option
@click.option("--slices", default=16, show_default=True, help="How many slices to look at, evenly spaced.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write to, for `harness pairs --noise`.")
@leaderboard_option
@json_option
def noise(protocol: str, slices: int, output: Path | None, leaderboard: Path, as_json: bool) -> None:
    """Fit dose, photons, electronic noise and reconstruction kernel to a data set's own slices."""
    from harness.protocol import load_protocol

    benchmark = load_protocol(protocol)

    import msgspec
    import yaml

    from harness.base.files import write_text
    from harness.cli.terminal import TerminalReporter
    from harness.dataset.load import load_data
    from harness.labels.noise_fit import fit_noise

    reporter = TerminalReporter()
    with reporter.stage("data") as progress:
        dataset = load_data(benchmark, leaderboard=leaderboard, progress=progress)
    with reporter.stage("fit") as progress:
        fit = fit_noise(dataset, slices=slices, seed=benchmark.seed, progress=progress)
    _warn("low-dose slices", fit.low.warnings)
    _warn("normal-dose slices", fit.normal.warnings)
    if output is not None:
        write_text(output, yaml.safe_dump(msgspec.to_builtins(fit.noise), sort_keys=False))
        click.echo(f"dose {fit.noise.dose:.3g} and scanner: {output}", err=True)
    if as_json:
        print_json(fit)
        return
    scanner = fit.noise.scanner
    rows: list[dict[str, Any]] = [
        {"": "dose", "fitted": f"{fit.noise.dose:.3g}"},
        {"": "photons a ray at normal dose", "fitted": f"{scanner.photons:.3g}"},
        {"": "electronic noise, photons", "fitted": f"{scanner.electronic:.3g} ± {fit.low.electronic_error:.2g}"},
    ]
    print_rows(rows, as_json=False)
    matches = {
        "noise in soft tissue, HU": "body_hu",
        "noise in the lung, HU": "lung_hu",
        "mean frequency, 1/mm": "frequency",
    }
    compared = [
        {"": name, "slices": dose, "measured": f"{match.measured:.3g}", "reproduced": f"{match.reproduced:.3g}"}
        for name, field in matches.items()
        for dose, of in (("low dose", fit.low), ("normal dose", fit.normal))
        if (match := getattr(of, field)) is not None
    ]
    print_rows(compared, as_json=False)


def _with_recipe(name: str, recipe: Mapping[str, str | None], *, noise: Path | None = None) -> Protocol:
    """A protocol with the parts of its purify that were given on the command line."""
    import msgspec

    from harness.base.structs import read_yaml
    from harness.protocol import Noise, load_protocol

    protocol = load_protocol(name)
    given: dict[str, Any] = {key: value for key, value in recipe.items() if value is not None}
    if noise is not None:
        given["noise"] = read_yaml(noise, Noise)
    return msgspec.structs.replace(protocol, purify=msgspec.structs.replace(protocol.purify, **given))


def _warn(what: str, lines: Sequence[str]) -> None:
    screen = console(stderr=True)
    for line in first_few(lines):
        screen.print(f"{what}: {line}", markup=False, highlight=False, soft_wrap=True)
