"""The board that this repository ships: whole, undamaged, and in the order that a sound benchmark must give."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.board.build import rank_all
from harness.board.ranking import Row
from harness.protocol import load_protocol

LEADERBOARD = Path(__file__).resolve().parents[2] / "leaderboard"
COMPARED = ("KID (EfficientNet-Lite0)", "FID (EfficientNet-Lite0)", "CLIP-FID (random weights)", "RMSE")


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    protocol, rows = next(board for board in rank_all(LEADERBOARD) if board[0].name == "phantom")
    assert protocol.digest == load_protocol("phantom").digest, "the protocol has changed: a new version, new records"
    return {row.record.result.submission.slug: row for row in rows}


def test_shipped_submissions_stand_where_they_belong(rows: dict[str, Row]) -> None:
    standing = {slug: row.standing for slug, row in rows.items()}
    assert {slug for slug, place in standing.items() if place == "ranked"} >= {"median", "tv", "nlm"}
    assert {slug for slug, place in standing.items() if place == "anchor"} == {
        "identity", "anchor-input", "anchor-blur-1", "anchor-blur-2", "anchor-blur-4", "anchor-weak-denoiser",
        "anchor-normal-dose", "anchor-truth",
    }  # fmt: skip


@pytest.mark.parametrize("reference", ["metrics", "truth"])
@pytest.mark.parametrize("slug", ["median", "tv", "nlm"])
def test_denoisers_stand_better_than_the_noisy_input(rows: dict[str, Row], slug: str, reference: str) -> None:
    for metric in COMPARED:
        own = getattr(rows[slug].record.result, reference)[metric]["whole"].value
        noisy = getattr(rows["anchor-input"].record.result, reference)[metric]["whole"].value
        assert own < noisy, metric


def test_nothing_is_nearer_to_the_truth_than_another_normal_dose_scan(rows: dict[str, Row]) -> None:
    """The floor: what a perfect scan at normal dose has, noise alone between it and the truth."""
    for metric in COMPARED:
        values = {slug: (row.record.result.truth or {})[metric]["whole"].value for slug, row in rows.items()}
        best = sorted(values, key=values.__getitem__)[:2]
        assert best == ["anchor-truth", "anchor-normal-dose"], metric


def test_the_container_of_the_noisy_input_changes_no_pixel(rows: dict[str, Row]) -> None:
    """One image set, once through a container and the strict reader, once from the harness itself."""
    assert rows["identity"].record.result.outputs == rows["anchor-input"].record.result.outputs
    assert rows["identity"].record.result.metrics == rows["anchor-input"].record.result.metrics
