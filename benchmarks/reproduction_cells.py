"""What the reproduction of the paper's claims keeps: a cell for each network, in benchmarks/reproduction/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.base.structs import Strict

FOLDER = Path(__file__).resolve().parent / "reproduction"
REGIONS = ("whole", "background", "lung")
TRUE_ERROR, NO_TRUTH = "RMSE", "RMSE without truth"
DISTANCES = ("FID", "KID", "CLIP-FID")
RECIPES = {
    "none": "raw pairs",
    "ipv1": "IPv1",
    "rb": "Remove Background",
    "an": "Add Noise",
    "ipv2": "IPv2",
    "ipv2 corrected": "IPv2 corrected",
}
Key = tuple[str, str, int]  # model, recipe, seed


class Cell(Strict, frozen=True, kw_only=True):
    """A network and what it is worth. `values` holds metric -> region -> (value, low, high) against label and truth,
    and under `lesions` observer -> condition -> (d', low, high), bounds over patients; `real` metric -> region -> value
    on real slices with inserted noise. Seconds are of all processors together on a CPU, by the clock on a GPU."""

    model: str
    recipe: str
    seed: int
    weights: str  # SHA-256
    parameters: int
    train_s: float
    apply_s: float
    score_s: float
    values: dict[str, dict[str, dict[str, tuple[float, float | None, float | None]]]]
    real: dict[str, dict[str, float]] | None = None

    @property
    def key(self) -> Key:
        return self.model, self.recipe, self.seed


class Results(Strict, frozen=True, kw_only=True):
    """All finished cells of a setting, and what they were made with; with anything else they are made anew."""

    setting: dict[str, Any]
    protocol: str  # digest
    test_set: str  # digest
    machine: str
    torch: str
    commit: str | None
    cells: tuple[Cell, ...] = ()
