"""`labels`, `pairs` and `noise`: purified labels, training pairs, and the noise of your own slices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import rich_click as click

from harness.base.text import counted, first_few
from harness.cli._common import (
    complete_protocol,
    console,
    json_option,
    leaderboard_option,
    print_json,
    print_rows,
    print_table,
    protocol_option,
)

if TYPE_CHECKING:
    from harness.protocol import Protocol

output_option = click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder to write to (new).")


def recipe_options(verb: Callable[..., None]) -> Callable[..., None]:
    """The options that replace a part of the protocol's purify."""
    for option in (
        click.option("--weak-denoiser", help="nlm, tv, cnn or the folder of a submission. [default: the protocol's]"),
        click.option("--variant", type=click.Choice(["published", "corrected"]), help="[default: the protocol's]"),
        click.option(
            "--strategy", type=click.Choice(["ipv1", "rb", "an", "ipv2", "none"]), help="[default: the protocol's]"
        ),
    ):
        verb = option(verb)
    return verb


@click.command()
@protocol_option
@recipe_options
@output_option
@click.option("--report", is_flag=True, help="Report the quality of the labels: gates, ranking, circularity.")
@leaderboard_option
@json_option
def labels(
    protocol: str, output: Path | None, report: bool, leaderboard: Path, as_json: bool, **recipe: str | None
) -> None:
    """Build a protocol's purified test labels; write them and their inputs (gt_bar/, lq/), or a quality report."""
    if output is None and not report:
        raise click.UsageError("give a folder to write to (-o) or ask for a report (--report)")
    chosen = _with_recipe(protocol, recipe)

    from harness.base.files import refuse_existing
    from harness.cli.terminal import TerminalReporter
    from harness.labels.label_set import write_labels
    from harness.pipeline.prepare import prepare_labels

    if output is not None:
        refuse_existing(output)
    if report:
        from harness.pipeline.label_report import refuse_report

        refuse_report(chosen)
    reporter = TerminalReporter()
    data = prepare_labels(chosen, reporter, leaderboard=leaderboard)
    if output is not None:
        write_labels(data.dataset, data.labels, chosen.purify, output)
        click.echo(f"wrote {counted(len(data.dataset.cases), 'label')} to {output}", err=as_json)
    if report:
        from rich.table import Table

        from harness.labels.report_tables import tables
        from harness.pipeline.label_report import report_labels

        quality = report_labels(data, reporter)
        if as_json:
            print_json(quality)
            return
        for found in tables(quality):
            table = Table(*found.header, title=found.title)
            for row in found.rows:
                table.add_row(*row)
            print_table(table)


@click.command()
@click.option(
    "-p",
    "--protocol",
    default="phantom-train",
    show_default=True,
    help="Protocol of the training set: name or .yaml file (use: train).",
    shell_complete=complete_protocol,
)
@click.option(
    "--from-test-set", is_flag=True, help="Make pairs of a test set; a model trained on them is refused there."
)
@recipe_options
@click.option("--seed", type=int, help="Seed of the added noise. [default: the protocol's]")
@click.option(
    "--noise", type=click.Path(path_type=Path), help="File with dose and scanner, as `harness noise` writes it."
)
@click.option("--leave-out", is_flag=True, help="Skip slices that cannot be purified, such as those without lung.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder to write to (new).")
@leaderboard_option
def pairs(
    protocol: str,
    from_test_set: bool,
    seed: int | None,
    noise: Path | None,
    leave_out: bool,
    output: Path,
    leaderboard: Path,
    **recipe: str | None,
) -> None:
    """Write purified training pairs: inputs in lq_bar/, targets in gt/. An interrupted run continues when repeated."""
    chosen = _with_recipe(protocol, recipe, noise=noise)
    if chosen.use == "test" and not from_test_set:
        _refuse_test_set(chosen)

    from harness.base.files import refuse_existing
    from harness.cli.terminal import TerminalReporter
    from harness.labels.training_pairs import write_pairs
    from harness.pipeline.data import prepare_data

    refuse_existing(output)
    reporter = TerminalReporter()
    dataset = prepare_data(chosen, reporter, leaderboard=leaderboard)
    with reporter.stage("pairs") as progress:
        written = write_pairs(
            dataset,
            chosen.purify,
            output,
            seed=chosen.seed if seed is None else seed,
            leave_out=leave_out,
            progress=progress,
        )
    _warn("left out", written.left_out)
    _warn("implausible, please inspect", written.implausible)
    click.echo(f"wrote {counted(written.count, 'pair')} to {output}")
    click.echo(
        "next: copy trained_on.txt into the submission that you train on them, and state trained_on: trained_on.txt"
    )


def _refuse_test_set(protocol: Protocol) -> NoReturn:
    from harness.base.errors import UsageError
    from harness.protocol import protocol_names

    beside = f"{protocol.name}-train"
    instead = (
        f"harness pairs -p {beside}" if beside in protocol_names() else "a protocol of other patients, with use: train"
    )
    raise UsageError(
        f"protocol {protocol.name} is a test set: a model that was trained on its slices is refused there",
        fix=f"{instead}; or say --from-test-set if the model is never to be scored on it",
    )


@click.command()
@protocol_option
@click.option(
    "--slices",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Number of slices to fit, evenly spaced.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write, for `harness pairs --noise`.")
@leaderboard_option
@json_option
def noise(protocol: str, slices: int, output: Path | None, leaderboard: Path, as_json: bool) -> None:
    """Fit dose, photons, electronic noise and reconstruction kernel to the slices of a data set."""
    from harness.protocol import load_protocol

    chosen = load_protocol(protocol)

    import msgspec
    import yaml

    from harness.base.files import refuse_unwritable, write_text
    from harness.cli.terminal import TerminalReporter
    from harness.labels.noise_fit import fit_noise
    from harness.pipeline.data import prepare_data

    if output is not None:
        refuse_unwritable(output.parent)
    reporter = TerminalReporter()
    dataset = prepare_data(chosen, reporter, leaderboard=leaderboard)
    with reporter.stage("fit") as progress:
        fit = fit_noise(dataset, slices=slices, seed=chosen.seed, progress=progress)
    _warn("low-dose slices", fit.low.warnings)
    _warn("normal-dose slices", fit.normal.warnings)
    if output is not None:
        write_text(output, yaml.safe_dump(msgspec.to_builtins(fit.noise), sort_keys=False))
        click.echo(f"wrote dose {fit.noise.dose:.3g} and scanner to {output}", err=True)
    if as_json:
        print_json(fit)
        return
    scanner = fit.noise.scanner
    rows: list[dict[str, Any]] = [
        {"": "dose", "fitted": f"{fit.noise.dose:.3g}"},
        {"": "photons per ray at normal dose", "fitted": f"{scanner.photons:.3g}"},
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
    """A protocol, parts of its purify replaced by those of the command line."""
    import msgspec

    from harness.base.errors import UsageError
    from harness.base.structs import read_yaml
    from harness.protocol import Noise, load_protocol

    protocol = load_protocol(name)
    given: dict[str, Any] = {key: value for key, value in recipe.items() if value is not None}
    if noise is not None:
        given["noise"] = read_yaml(noise, Noise)
    try:
        return msgspec.structs.replace(protocol, purify=msgspec.structs.replace(protocol.purify, **given))
    except ValueError as error:
        fix = "choose another strategy, or a protocol of another anatomy"
        raise UsageError(f"protocol {protocol.name}: {error}", fix=fix) from error


def _warn(what: str, lines: Sequence[str]) -> None:
    screen = console(stderr=True)
    for line in first_few(lines):
        screen.print(f"{what}: {line}", highlight=False, soft_wrap=True)
