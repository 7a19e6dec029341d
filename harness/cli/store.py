"""`store`: the attachments of records: what is here, what is missing, and how it moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from harness.base.text import counted
from harness.cli._common import json_option, leaderboard_option, print_json, print_rows, record_folder

if TYPE_CHECKING:
    from harness.records.attachments import Attachment
    from harness.records.schema import Record

records_argument = click.argument("records", nargs=-1, metavar="[RECORD]...", type=click.Path(path_type=Path))


@click.group()
def store() -> None:
    """Features and pictures of records: they lie in a store outside version control.

    The store is the folder $HARNESS_STORE, or attachments/ in the leaderboard. Files that are missing are fetched from
    the locations in the leaderboard's store.yaml, or in $HARNESS_STORE_READ. docs/store.md has the details.
    """


@store.command(name="list")
@records_argument
@leaderboard_option
@json_option
def list_(records: tuple[Path, ...], leaderboard: Path, as_json: bool) -> None:
    """List what each record (a folder or an id; default: all) keeps in the store, and how much of it is here."""
    from harness.records.attachments import open_store

    held = open_store(leaderboard)
    rows: list[dict[str, Any]] = []
    for record, found in _attachments(records, leaderboard):
        here = [path for one in found if (path := held.here(one)) is not None]
        rows.append(
            {
                "protocol": f"{record.result.protocol.name}-{record.result.protocol.version}",
                "slug": record.result.submission.slug,
                "record": record.id,
                "attachments": len(found),
                "here": len(here),
                "MB here": round(sum(path.stat().st_size for path in here) / 1e6, 2),
            }
        )
    print_rows(rows, as_json=as_json)


@store.command()
@records_argument
@leaderboard_option
@json_option
def pull(records: tuple[Path, ...], leaderboard: Path, as_json: bool) -> None:
    """Fetch what is missing of records (folders or ids; default: all) into the store, and verify it.

    Attachments that older versions kept in the record's folder move into the store. `harness board` then shows them.
    """
    from harness.base.errors import HarnessError
    from harness.records.attachments import open_store

    held = open_store(leaderboard)
    errors: list[HarnessError] = []
    moved = fetched = 0
    for _, group in _attachments(records, leaderboard):
        for one in group:
            try:
                moved += held.adopt(one)
            except HarnessError as error:
                errors.append(error)
    for one in _each(records, leaderboard, "pull"):
        try:
            if held.verified(one) is None:
                held.get(one)
                fetched += 1
        except HarnessError as error:
            errors.append(error)
    _print({"fetched": fetched, "moved": moved, "missing": len(errors)}, as_json)
    if errors:
        first = errors[0]
        raise type(first)(
            f"{counted(len(errors), 'attachment')} cannot be fetched. The first: {first.message}", fix=first.fix
        )


@store.command()
@records_argument
@click.option("--to", "location", required=True, help="A folder, or a URL that fsspec writes to (s3://, gs://, ...).")
@leaderboard_option
@json_option
def push(records: tuple[Path, ...], location: str, leaderboard: Path, as_json: bool) -> None:
    """Copy what is here of records (folders or ids; default: all) to a folder or a URL, each file verified first."""
    from harness.records.attachments import open_store
    from harness.records.locations import send

    held = open_store(leaderboard)
    counts = {"sent": 0, "there already": 0, "not here": 0}
    for one in _each(records, leaderboard, "push"):
        path = held.here(one)
        if path is None:
            counts["not here"] += 1
        else:
            sent = send(path, location, one.file, sha256=one.sha256)
            counts["sent" if sent else "there already"] += 1
    _print(counts, as_json)


@store.command()
@records_argument
@leaderboard_option
@json_option
def check(records: tuple[Path, ...], leaderboard: Path, as_json: bool) -> None:
    """Verify what is here of records (folders or ids; default: all) by SHA-256; fail if a file is damaged."""
    from harness.base.errors import UsageError
    from harness.base.text import first_few
    from harness.records.attachments import open_store

    held = open_store(leaderboard)
    counts = {"sound": 0, "not here": 0, "damaged": 0}
    damaged = []
    for one in _each(records, leaderboard, "check"):
        try:
            counts["not here" if held.verified(one) is None else "sound"] += 1
        except UsageError:
            counts["damaged"] += 1
            damaged.append(str(held.here(one)))
    _print(counts, as_json)
    if damaged:
        offenders = ", ".join(first_few(damaged))
        raise UsageError(f"damaged or altered: {offenders}", fix="remove these files, then: harness store pull")


def _attachments(records: tuple[Path, ...], leaderboard: Path) -> Iterator[tuple[Record, list[Attachment]]]:
    """Records with what they keep in the store; pictures only where their protocol publishes any."""
    from harness.records.attachments import attachments
    from harness.records.store import read_protocol, read_record, read_records
    from harness.records.store import record_folder as folder_of

    chosen = [read_record(record_folder(one, leaderboard)) for one in records] or read_records(leaderboard)
    for record in chosen:
        facts = record.result.protocol
        images = read_protocol(leaderboard, facts.name, facts.version).publish.images
        yield record, attachments(record, folder_of(leaderboard, record), images=images)


def _each(records: tuple[Path, ...], leaderboard: Path, stage: str) -> Iterator[Attachment]:
    """Each file once, with progress as stage `stage`."""
    from harness.cli.terminal import TerminalReporter
    from harness.records.attachments import unique

    found = unique([one for _, group in _attachments(records, leaderboard) for one in group])
    with TerminalReporter().stage(stage) as progress:
        for number, one in enumerate(found, start=1):
            yield one
            progress(number, len(found))


def _print(counts: dict[str, int], as_json: bool) -> None:
    if as_json:
        print_json(counts)
    else:
        click.echo(", ".join(f"{count} {what}" for what, count in counts.items()))
