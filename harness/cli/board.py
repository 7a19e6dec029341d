"""`board` and `list`: what there is, and the tables made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from harness.cli._common import json_option, leaderboard_option, print_rows


@click.command()
@leaderboard_option
@click.option("--check", "only_check", is_flag=True, help="Write nothing; fail if the tables are stale.")
@click.option("--signed", is_flag=True, help="With --check: fail if a ranked record has no signature that counts.")
def board(leaderboard: Path, only_check: bool, signed: bool) -> None:
    """Rebuild the leaderboard's tables from its records."""
    from harness.board.build import check_board, check_signed, write_board

    if signed and not only_check:
        raise click.UsageError("--signed goes with --check")
    if only_check:
        check_board(leaderboard)
        if signed:
            check_signed(leaderboard)
        click.echo("the tables are what the records give")
    else:
        for path in write_board(leaderboard):
            click.echo(str(path))


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
        from harness.submission import MANIFEST, load_submission

        entries = [load_submission(path.parent) for path in sorted(Path("submissions").glob(f"*/{MANIFEST}"))]
        rows = [{"slug": one.slug, "name": one.manifest.name, "version": one.manifest.version} for one in entries]
    else:
        from harness.record import read_records

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
