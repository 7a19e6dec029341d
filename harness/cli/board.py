"""`board`, `withdraw` and `list`: the tables and the site, and what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from harness.base.text import counted
from harness.cli._common import json_option, leaderboard_option, print_rows, record_folder


@click.command()
@leaderboard_option
@click.option("--check", "only_check", is_flag=True, help="Write nothing; fail if anything is stale.")
@click.option("--signed", is_flag=True, help="With --check: fail if a ranked record lacks a signature that counts.")
@click.option(
    "--publish", "folder", type=click.Path(path_type=Path), help="Write the board with all pictures to this folder."
)
@click.option("--features", is_flag=True, help="With --publish: include the features, for audits.")
def board(leaderboard: Path, only_check: bool, signed: bool, folder: Path | None, features: bool) -> None:
    """Build the leaderboard's tables and its site (index.html) from its records.

    Only README.md belongs in version control; the rest is built wherever it is needed. --publish writes a folder for
    any static host, with pictures from the attachment store (see `harness store`).
    """
    if signed and not only_check:
        raise click.UsageError("--signed goes with --check")
    if features and folder is None:
        raise click.UsageError("--features goes with --publish")
    if only_check and folder is not None:
        raise click.UsageError("--check writes nothing, so it does not go with --publish")
    if folder is not None:
        _publish(leaderboard, folder, features=features)
        return
    from harness.board.build import check_board, check_signed, write_board

    if only_check:
        check_board(leaderboard)
        if signed:
            check_signed(leaderboard)
        click.echo("the board matches the records")
        return
    written = write_board(leaderboard, tidy=True)
    rendered = f"{counted(len(written.rendered), 'page')} rendered" if written.rendered else "none changed"
    click.echo(
        f"{counted(len(written.files), 'file')} ({rendered}), "
        f"among them {leaderboard / 'README.md'} and {leaderboard / 'index.html'}"
    )
    for path in written.removed:
        click.echo(f"removed {path}")


def _publish(leaderboard: Path, folder: Path, *, features: bool) -> None:
    from harness.board.publish import publish
    from harness.cli.terminal import TerminalReporter

    with TerminalReporter().stage("attachments") as progress:
        done = publish(leaderboard, folder, features=features, progress=progress)
    files, attachments = counted(len(done.board.files), "file"), counted(done.attachments, "attachment")
    click.echo(f"{folder / 'index.html'}: {files} and {attachments}")
    if done.missing:
        reason = next(iter(done.missing.values()))
        click.echo(
            f"{counted(len(done.missing), 'attachment')} missing, as their pages say. The first: {reason}\n"
            "`harness store list` shows what is missing.",
            err=True,
        )


@click.command()
@click.argument("record", type=click.Path(path_type=Path))
@click.option("--reason", required=True, help="What is wrong with it; everybody can read this.")
@leaderboard_option
def withdraw(record: Path, reason: str, leaderboard: Path) -> None:
    """Withdraw a record (its folder or its id): it stays visible with the reason but no longer ranks."""
    from harness.board.build import write_board
    from harness.records.withdrawal import withdraw as withdraw_record

    folder = record_folder(record, leaderboard)
    withdraw_record(folder, reason)
    write_board(folder.resolve().parents[3], tidy=True)  # the badge and model card that it earned go, too
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
        rows = _submissions()
    else:
        from harness.records.store import read_records
        from harness.records.withdrawal import read_withdrawals

        withdrawn = read_withdrawals(leaderboard)
        rows = [
            {
                "id": one.id,
                "protocol": f"{one.result.protocol.name}-{one.result.protocol.version}",
                "slug": one.result.submission.slug,
                "status": "withdrawn" if one.id in withdrawn else one.result.status,
                "date": one.observed.date,
            }
            for one in read_records(leaderboard)
        ]
    print_rows(rows, as_json=as_json)


def _submissions() -> list[dict[str, Any]]:
    """The submissions below submissions/; where some are broken, every row has an `error`, empty for the sound ones."""
    from harness.base.errors import UsageError
    from harness.submission.manifest import MANIFEST, load_submission

    rows: list[dict[str, Any]] = []
    for path in sorted(Path("submissions").glob(f"*/{MANIFEST}")):
        try:
            manifest = load_submission(path.parent).manifest
        except UsageError as error:
            rows.append({"slug": path.parent.name, "name": "", "version": "", "error": error.message})
        else:
            rows.append({"slug": path.parent.name, "name": manifest.name, "version": manifest.version, "error": ""})
    if not any(row["error"] for row in rows):
        for row in rows:
            del row["error"]
    return rows
