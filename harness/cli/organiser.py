"""`secret`: data that nobody can regenerate until the organiser discloses its seed; `sign`: signatures of records."""

from __future__ import annotations

import os
from pathlib import Path

import rich_click as click

from harness.cli._common import leaderboard_option, protocol_option, record_folder


@click.group()
def secret() -> None:
    """Secret seeds of phantom protocols: commit to one before the runs, disclose it afterwards (docs/cheating.md)."""


@secret.command()
@protocol_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="New file, outside any repository.",
)
def new(protocol: str, output: Path) -> None:
    """Draw a secret for a protocol's name and version, and print the seed line that commits to it."""
    from harness.dataset.secret import VARIABLE, new_secret
    from harness.protocol import load_protocol

    made = new_secret(load_protocol(protocol), output)
    click.echo(f'seed: "{made.commitment}"')
    click.echo(
        f"Put this line in place of data.seed in protocol {made.protocol}. Until you disclose the secret, also set\n"
        "publish: {logs: false, images: false}\n"
        f"{output} holds the secret; only you can read it. Keep a copy: nothing can be repeated without it.\n"
        f"Tell runs where it is: {VARIABLE}={output}",
        err=True,
    )


@secret.command()
@protocol_option
@leaderboard_option
def disclose(protocol: str, leaderboard: Path) -> None:
    """Write a protocol's secret beside its records, so that anybody can repeat them."""
    from harness.dataset.secret import disclose as write_disclosed
    from harness.protocol import load_protocol

    click.echo(str(write_disclosed(load_protocol(protocol), leaderboard, os.environ)))


@click.command()
@click.argument("records", nargs=-1, metavar="RECORD...", type=click.Path(path_type=Path))
@click.option("--all", "sign_all", is_flag=True, help="Sign every unsigned record of the leaderboard.")
@leaderboard_option
def sign(records: tuple[Path, ...], sign_all: bool, leaderboard: Path) -> None:
    """Sign records (folders or ids) with the key that HARNESS_SIGNING_KEY names, and rebuild the board.

    Without records it prints only the public key, in the form that signers.yaml takes.
    """
    if records and sign_all:
        raise click.UsageError("name records or say --all")

    from harness.base.errors import UsageError
    from harness.board.build import write_board
    from harness.records.signing import VARIABLE, public_key, signing_key
    from harness.records.store import sign_record, unsigned_records

    key = signing_key(os.environ)
    if key is None:
        raise UsageError(f"{VARIABLE} is not set: no key to sign with", fix=f"{VARIABLE}=/path/to/key.pem")
    folders = unsigned_records(leaderboard) if sign_all else [record_folder(one, leaderboard) for one in records]
    for folder in folders:
        sign_record(folder, key)
        click.echo(f"signed: {folder}")
    if folders:
        write_board(leaderboard)
    click.echo(f"public key: {public_key(key)}", err=bool(folders))
