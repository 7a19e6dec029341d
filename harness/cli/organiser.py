"""`secret`: data that nobody can regenerate before the organiser says so; `sign`: records that the organiser signs."""

from __future__ import annotations

import os
from pathlib import Path

import rich_click as click

from harness.cli._common import leaderboard_option, protocol_option, record_folder


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
    from harness.dataset.secret import VARIABLE, new_secret
    from harness.protocol import load_protocol

    made = new_secret(load_protocol(protocol), output)
    click.echo(f'seed: "{made.commitment}"')
    click.echo(
        f"This line takes the place of data.seed in protocol {made.protocol}; until the secret is disclosed say also\n"
        "publish: {logs: false, images: false}\n"
        f"{output} holds the secret, and only you can read it; keep a copy, for nothing repeats without it.\n"
        f"Runs find it by {VARIABLE}={output}",
        err=True,
    )


@secret.command()
@protocol_option
@leaderboard_option
def disclose(protocol: str, leaderboard: Path) -> None:
    """Write a protocol's secret beside its records: from then on anybody can repeat them."""
    from harness.dataset.secret import disclose as write_disclosed
    from harness.protocol import load_protocol

    click.echo(str(write_disclosed(load_protocol(protocol), leaderboard, os.environ)))


@click.command()
@click.argument("records", nargs=-1, metavar="RECORD...", type=click.Path(path_type=Path))
@click.option("--all", "sign_all", is_flag=True, help="Every record of the leaderboard that nobody has signed yet.")
@leaderboard_option
def sign(records: tuple[Path, ...], sign_all: bool, leaderboard: Path) -> None:
    """Sign records (folders or ids) with the key that HARNESS_SIGNING_KEY names, and rebuild the board.

    Without records it prints the public key alone, as signers.yaml takes it.
    """
    if records and sign_all:
        raise click.UsageError("name records or say --all")

    from harness.base.errors import UsageError
    from harness.board.build import write_board
    from harness.records.signing import VARIABLE, public_key, signing_key
    from harness.records.store import sign_record, unsigned_records

    key = signing_key(os.environ)
    if key is None:
        raise UsageError(f"{VARIABLE} is not set, so there is no key to sign with", fix=f"{VARIABLE}=/path/to/key.pem")
    folders = unsigned_records(leaderboard) if sign_all else [record_folder(one, leaderboard) for one in records]
    for folder in folders:
        sign_record(folder, key)
        click.echo(f"signed: {folder}")
    if folders:
        write_board(leaderboard)
    click.echo(f"public key: {public_key(key)}", err=bool(folders))
