"""What became of a submission as one row, the same for one and for many, in tables and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.cli._common import console

if TYPE_CHECKING:
    from harness.pipeline.evaluate import Evaluation

NO_RECORD = "no record"


def outcome(
    slug: str, *, status: int, text: str, record: str = "", folder: str = "", seconds: float = 0
) -> dict[str, Any]:
    """A row of `--json` and of the table: exit status, what became of it in one line, its record and that one's folder.
    `standing` is filled in by `with_standings`."""
    return {
        "submission": slug,
        "exit": status,
        "outcome": text,
        "standing": NO_RECORD,
        "record": record,
        "folder": folder,
        "s": round(seconds),
    }


def outcome_of(evaluation: Evaluation, *, seconds: float = 0) -> dict[str, Any]:
    """The row of a finished evaluation."""
    record = evaluation.record
    failure, repeat, text = record.result.failure, record.observed.repeat, "scored"
    if failure is not None:
        text = failure.message
    elif repeat is not None:
        text = f"scored; {repeat}"
    return outcome(
        record.result.submission.slug,
        status=0 if failure is None else failure.exit_status,
        text=text,
        record=record.id,
        folder=evaluation.folder,
        seconds=seconds,
    )


class Standing(NamedTuple):
    """Rank and tier of a record on its board, or the reason why it has none; what is said of its lesions."""

    text: str
    lesions: str = ""


REPLACED = Standing("not on the board: a newer record of this submission takes its place")


def standings(leaderboard: Path) -> dict[str, Standing]:
    """Where the records of all boards stand, by their ids."""
    from harness.board.build import rank_all

    found = {}
    for _, rows in rank_all(leaderboard):
        count = sum(row.rank is not None for row in rows)
        for row in rows:
            tier = f" (tier {row.tier})" if row.tier else ""
            text = f"rank {row.rank} of {count}{tier}" if row.rank is not None else f"not ranked: {row.reason}"
            found[row.record.id] = Standing(text, row.lesions)
    return found


def with_standings(rows: list[dict[str, Any]], leaderboard: Path) -> list[dict[str, Any]]:
    """The rows with the standing of each record on its board."""
    if not any(row["record"] for row in rows):
        return rows
    known = standings(leaderboard)
    return [row | {"standing": known.get(row["record"], REPLACED).text if row["record"] else NO_RECORD} for row in rows]


def print_board(leaderboard: Path) -> None:
    """Where the tables and the site of a leaderboard are, if it has any."""
    if (leaderboard / "README.md").is_file():
        places = f"{leaderboard / 'README.md'}, {leaderboard / 'index.html'}"
        console(stderr=True).print(f"board: {places}", highlight=False, soft_wrap=True)
