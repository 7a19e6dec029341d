"""`secret`: a protocol whose data nobody can regenerate before the organiser says so."""

from __future__ import annotations

import os
from pathlib import Path

import rich_click as click

from harness.cli._common import leaderboard_option, protocol_option


@click.group()
def secret() -> None:
    """Secret seeds of phantom protocols: committed to before the runs, disclosed after them (docs/cheating.md)."""


@secret.command()
@protocol_option
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="File to write to (new), in no repository."
)
def new(protocol: str, output: Path) -> None:
    """Draw a secret for a protocol's name and version, and print the seed line that commits to it."""
    from harness.protocol import load_protocol
    from harness.secret import VARIABLE, new_secret

    made = new_secret(load_protocol(protocol), output)
    click.echo(f'seed: "{made.commitment}"')
    click.echo(
        f"This line takes the place of data.seed in protocol {made.protocol}. {output} holds the secret, and only you "
        f"can read it; keep a copy, for nothing repeats without it. Runs find it by {VARIABLE}={output}",
        err=True,
    )


@secret.command()
@protocol_option
@leaderboard_option
def disclose(protocol: str, leaderboard: Path) -> None:
    """Write a protocol's secret beside its records: from then on anybody can repeat them."""
    from harness.protocol import load_protocol
    from harness.secret import disclose as write_disclosed

    click.echo(str(write_disclosed(load_protocol(protocol), leaderboard, os.environ)))
