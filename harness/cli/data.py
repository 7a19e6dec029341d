"""`data`: the official bytes of a protocol's test set: their digests, and the bytes as one file."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from harness.cli._common import counted, json_option, leaderboard_option, print_json, protocol_option


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

    Names each slice that differs, and by how many grey levels where the official test set was imported. Exit status
    50 if any does.
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
