"""Withdrawal: a record that no longer counts, with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from harness.base.errors import UsageError
from harness.base.structs import Strict, read_json, write_json
from harness.records.observe import now
from harness.records.store import read_record

WITHDRAWAL = "withdrawn.json"


class Withdrawal(Strict, frozen=True, kw_only=True):
    """`withdrawn.json` beside a record, which itself never changes: it stays visible and no longer ranks."""

    schema: Literal[1] = 1
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
    date: str


def withdraw(folder: Path, reason: str) -> Withdrawal:
    """Withdraw a record: it is shown with the reason and never ranks again.

    UsageError where the folder holds no sound record, no reason is given, or the record is withdrawn already.
    """
    read_record(folder)
    path = folder / WITHDRAWAL
    if path.exists():
        raise UsageError(
            f"{folder}: already withdrawn: {read_json(path, Withdrawal).reason}",
            fix=f"to change the reason, edit or remove {path}",
        )
    withdrawal = Withdrawal(reason=reason.strip(), date=now())
    try:
        msgspec.convert(msgspec.to_builtins(withdrawal), Withdrawal)
    except msgspec.ValidationError as error:
        raise UsageError(f"withdrawal of {folder}: {error}", fix="give a reason of 1 to 1000 characters") from error
    write_json(path, withdrawal)
    return withdrawal


def read_withdrawals(leaderboard: Path) -> dict[str, Withdrawal]:
    """The withdrawn records of a leaderboard by id. UsageError names a file that is not a withdrawal."""
    return {
        path.parent.name: read_json(path, Withdrawal)
        for path in sorted(leaderboard.glob(f"records/*/*/*/{WITHDRAWAL}"))
    }
