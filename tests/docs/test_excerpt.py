"""README's excerpt of the board: its rows are those of leaderboard/README.md."""

from __future__ import annotations

import re

from tests.docs.commands import ROOT

RANKING = "### Ranking"


def table(text: str, heading: str) -> list[dict[str, str]]:
    """The rows of the first table below a heading, column -> cell, intervals as README writes them."""
    lines = text[text.index(f"{heading}\n") :].splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[begin:]:
        if not line.startswith("|"):
            break
        plain = line.replace("<br><sub>", " ").replace("</sub>", "")
        rows.append([cell.strip() for cell in plain.strip("|").split("|")])
    head, _, *rest = rows
    return [dict(zip(head, row, strict=True)) for row in rest]


def test_the_excerpt_of_the_board_has_the_rows_of_the_leaderboard() -> None:
    board = (ROOT / "leaderboard" / "README.md").read_text()
    (newest,) = re.findall(r"`phantom`, version (\d+)", (ROOT / "README.md").read_text())
    assert board.index("(`phantom-") == board.index(f"(`phantom-{newest}`)")
    expected = [
        tuple(row[column] for column in ("", "tier", "Submission", "RMSE HU ↓", "lesions"))
        for row in table(board[board.index(f"(`phantom-{newest}`)") :], RANKING)
    ]
    excerpt = [tuple(row.values()) for row in table((ROOT / "README.md").read_text(), "## The board")]
    assert len(excerpt) >= 5
    assert not [row for row in excerpt if row not in expected], "copy these rows anew from leaderboard/README.md"
    places = [expected.index(row) for row in excerpt]
    assert places == sorted(places), "the order is the board's"
