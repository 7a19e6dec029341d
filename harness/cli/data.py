"""`data`: the official bytes of a protocol's test set: their digests, and the bytes as one file."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from harness.base.text import counted
from harness.cli._common import complete_protocol, json_option, leaderboard_option, print_json, protocol_option


@click.group()
def data() -> None:
    """Check, export and import the official test set of a protocol (docs/portability.md)."""


@data.command()
@protocol_option
@leaderboard_option
def digests(protocol: str, leaderboard: Path) -> None:
    """Write the digests of a protocol's slices and labels beside its .yaml file: <name>-<version>.slices.json.

    They are those of what this machine makes, and from then on they say which bytes rank. An organiser does this once
    for each version of a protocol, and commits the file.
    """
    from harness.cli.terminal import TerminalReporter
    from harness.pipeline.official_set import write_digests
    from harness.protocol import find_protocol, load_protocol

    file, new = write_digests(
        load_protocol(protocol, official=False), find_protocol(protocol), TerminalReporter(), leaderboard=leaderboard
    )
    click.echo(f"wrote {file}" if new else f"{file}: already there, the same")


@data.command()
@protocol_option
@leaderboard_option
@json_option
def check(protocol: str, leaderboard: Path, as_json: bool) -> None:
    """Make a protocol's slices and labels, and compare them with its official test set.

    Names the first eight slices that differ (--json: all), and by how many grey levels where the official test set was
    imported. Exit status 50 if any does.
    """
    from harness.base.errors import InfrastructureError
    from harness.cli.terminal import TerminalReporter
    from harness.dataset.official import difference_note
    from harness.pipeline.official_set import check_here, official_of
    from harness.protocol import load_protocol

    chosen = load_protocol(protocol)
    found, official = check_here(chosen, TerminalReporter(), leaderboard=leaderboard), official_of(chosen)
    if as_json:
        print_json(found)
    elif not found:
        click.echo(f"{counted(len(official.slices), 'slice')}: this machine makes the official bytes")
    if found:
        message, _, fix = difference_note("slices", found, official).rpartition("\n  fix: ")
        raise InfrastructureError(message, fix=fix)


@data.command("export")
@protocol_option
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="File to write (new).")
@leaderboard_option
def export_(protocol: str, output: Path, leaderboard: Path) -> None:
    """Write a protocol's official test set, slices and labels, as one file (tar) for `harness data import`.

    Only the official bytes are written, and no secret seed's before it is disclosed.
    """
    from harness.cli.terminal import TerminalReporter
    from harness.pipeline.official_file import export_set, refuse_export
    from harness.pipeline.prepare import prepare_labels
    from harness.protocol import load_protocol

    chosen = load_protocol(protocol)
    refuse_export(chosen, output, leaderboard=leaderboard)
    made = prepare_labels(chosen, TerminalReporter(), leaderboard=leaderboard)
    export_set(chosen, made.dataset, made.labels, output, leaderboard=leaderboard)
    click.echo(f"wrote {counted(len(made.dataset.cases), 'slice')} with labels to {output}")


@data.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-p",
    "--protocol",
    help="Name of a protocol or its .yaml file. [default: the name in FILE]",
    shell_complete=complete_protocol,
)
def import_(file: Path, protocol: str | None) -> None:
    """Take a protocol's official test set from FILE, which `harness data export` wrote on another machine.

    Every image must have the digest that the protocol states, so it does not matter who made FILE. From then on all
    commands use these bytes in place of those that this machine makes.
    """
    from harness.pipeline.official_file import import_set, protocol_of
    from harness.protocol import load_protocol

    chosen = load_protocol(protocol_of(file) if protocol is None else protocol)
    click.echo(f"imported the official test set of {chosen.identity} to {import_set(chosen, file)}")
