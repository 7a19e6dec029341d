"""`board` and `list`: what there is, and the tables made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from harness.cli._common import json_option, leaderboard_option, print_rows, record_folder


@click.command()
@leaderboard_option
@click.option("--check", "only_check", is_flag=True, help="Write nothing; fail if anything is stale.")
@click.option("--signed", is_flag=True, help="With --check: fail if a ranked record has no signature that counts.")
def board(leaderboard: Path, only_check: bool, signed: bool) -> None:
    """Rebuild the leaderboard's tables and its site (site/index.html) from its records."""
    from harness.board.build import check_board, check_signed, remove_leftovers, write_board

    if signed and not only_check:
        raise click.UsageError("--signed goes with --check")
    if only_check:
        check_board(leaderboard)
        if signed:
            check_signed(leaderboard)
        click.echo("tables and site are what the records give")
        return
    written = write_board(leaderboard)
    removed = remove_leftovers(leaderboard, written)
    click.echo(
        f"{len(written)} files, among them {leaderboard / 'README.md'} and {leaderboard / 'site' / 'index.html'}"
    )
    for path in removed:
        click.echo(f"removed {path}")


@click.command()
@click.argument("record", type=click.Path(path_type=Path))
@click.option("--reason", required=True, help="What is wrong with it, for everybody to read.")
@leaderboard_option
def withdraw(record: Path, reason: str, leaderboard: Path) -> None:
    """Withdraw a record (its folder or its id): it stays visible with the reason, and no longer ranks."""
    from harness.board.build import write_board
    from harness.records.withdrawal import withdraw as withdraw_record

    folder = record_folder(record, leaderboard)
    withdraw_record(folder, reason)
    write_board(folder.resolve().parents[3])
    click.echo(f"withdrawn: {folder}")


@click.command(name="list")
@click.argument("what", type=click.Choice(["protocols", "submissions", "records"]), default="protocols")
@leaderboard_option
@json_option
def list_(what: str, leaderboard: Path, as_json: bool) -> None:
    """List the protocols, the submissions below submissions/, or the records of a leaderboard."""
    rows: list[dict[str, Any]]
    if what == "protocols":
        from harness.protocol import load_protocol, protocol_names

        protocols = [load_protocol(name) for name in protocol_names()]
        rows = [{"name": one.name, "version": one.version, "title": one.title} for one in protocols]
    elif what == "submissions":
        from harness.submission.manifest import MANIFEST, load_submission

        entries = [load_submission(path.parent) for path in sorted(Path("submissions").glob(f"*/{MANIFEST}"))]
        rows = [{"slug": one.slug, "name": one.manifest.name, "version": one.manifest.version} for one in entries]
    else:
        from harness.records.store import read_records

        rows = [
            {
                "id": one.id,
                "protocol": f"{one.result.protocol.name}-{one.result.protocol.version}",
                "slug": one.result.submission.slug,
                "status": one.result.status,
                "date": one.observed.date,
            }
            for one in read_records(leaderboard)
        ]
    print_rows(rows, as_json=as_json)
