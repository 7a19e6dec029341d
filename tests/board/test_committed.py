"""The board that this repository ships: whole, undamaged, and in the order that a sound benchmark must give."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.board.build import rank_all
from harness.board.ranking import Row
from harness.protocol import load_protocol

LEADERBOARD = Path(__file__).resolve().parents[2] / "leaderboard"


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    protocol, rows = next(board for board in rank_all(LEADERBOARD) if board[0].name == "phantom")
    assert protocol.digest == load_protocol("phantom").digest, "the protocol has changed: a new version, new records"
    return {row.record.result.submission.slug: row for row in rows}


def test_shipped_submissions_stand_where_they_belong(rows: dict[str, Row]) -> None:
    standing = {slug: row.standing for slug, row in rows.items()}
    for slug, expected in {"identity": "anchor", "nlm": "unranked", "median": "ranked", "tv": "ranked"}.items():
        assert standing[slug] == expected


@pytest.mark.parametrize("reference", ["metrics", "truth"])
@pytest.mark.parametrize("slug", ["median", "tv"])
def test_denoisers_stand_better_than_the_noisy_input(rows: dict[str, Row], slug: str, reference: str) -> None:
    for metric in ("KID", "FID", "CLIP-FID", "RMSE"):
        own = getattr(rows[slug].record.result, reference)[metric]["whole"].value
        noisy = getattr(rows["identity"].record.result, reference)[metric]["whole"].value
        assert own < noisy, metric
