"""The reproduction of the paper's claims: what is committed is whole, and the document shows what was measured."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks import reproduction
from benchmarks.reproduction_cells import RECIPES, Cell, Results
from benchmarks.reproduction_tables import claims, print_tables, spread
from benchmarks.train import MODELS, SETTINGS
from harness.base.structs import read_json
from harness.dataset.cases import Dataset
from harness.protocol import load_protocol

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "benchmarks" / "reproduction" / "reduced.json"


def cell(model: str, recipe: str, seed: int, value: float) -> Cell:
    table: dict[str, dict[str, tuple[float, float | None, float | None]]] = {
        name: {"whole": (value, None, None)} for name in ("FID", "KID", "CLIP-FID", "RMSE")
    }
    return Cell(
        model=model, recipe=recipe, seed=seed, weights="0", parameters=1, train_s=1, apply_s=1, score_s=1,
        values={"label": table, "truth": table},
    )  # fmt: skip


def results(*cells: Cell) -> Results:
    return Results(setting={}, protocol="p", test_set="t", machine="m", torch="2", commit=None, cells=cells)


def test_spread_is_students_interval() -> None:
    mean, half = spread([1.0, 2.0, 3.0])
    assert mean == 2
    assert half == pytest.approx(4.302652729911275 / np.sqrt(3))
    assert np.isnan(spread([1.0])[1])


def test_changes_are_paired_by_seed_and_marked_where_they_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    halved = [cell("unet", "ipv1", seed, value) for seed, value in enumerate((1.0, 2.0, 4.0))]
    halved += [cell("unet", "ipv2", seed, value) for seed, value in enumerate((0.5, 1.0, 2.0))]
    unclear = [cell("flow", "ipv1", seed, 1.0) for seed in range(3)]
    unclear += [cell("flow", "ipv2", seed, value) for seed, value in enumerate((0.5, 1.0, 1.6))]
    negative = [cell("dncnn", recipe, 0, -1.0) for recipe in ("ipv1", "ipv2")]
    claims(results(*halved, *unclear, *negative), "label")
    head, _, first, *_ = [line.split(" | ") for line in capsys.readouterr().out.splitlines()]
    row = dict(zip(head[1:], first[1:], strict=True))
    assert row["FID unet"] == "**-50 %**"
    assert row["FID flow"] == "+3 %"
    assert row["KID dncnn"] == "–"
    assert "KID redcnn" not in row


def test_finished_cells_are_kept_for_the_same_setting_alone(tmp_path: Path) -> None:
    protocol, dataset = load_protocol("phantom"), Dataset(cases=(), window_hu=None, digest="d")
    first = reproduction.open_results("tiny", tmp_path / "tiny.json", dataset, protocol, "cpu")
    assert first.cells == ()
    kept = msgspec.structs.replace(first, cells=(cell("unet", "none", 0, 1.0),))
    (tmp_path / "tiny.json").write_bytes(msgspec.json.encode(kept))
    assert reproduction.open_results("tiny", tmp_path / "tiny.json", dataset, protocol, "cpu").cells == kept.cells
    other = msgspec.structs.replace(dataset, digest="e")
    assert reproduction.open_results("tiny", tmp_path / "tiny.json", other, protocol, "cpu").cells == ()


# -------------------------------------------------------------------------------- what is committed
@pytest.fixture(scope="module")
def committed() -> Results:
    return read_json(COMMITTED, Results)


def test_every_cell_is_there_once(committed: Results) -> None:
    cells = [(one.model, one.recipe, one.seed) for one in committed.cells]
    models, seeds = (sorted({one[place] for one in cells}) for place in (0, 2))
    assert set(models) <= set(MODELS)
    assert sorted(cells) == sorted(itertools.product(models, RECIPES, seeds))
    assert committed.setting == json.loads(msgspec.json.encode(SETTINGS["reduced"]))


def test_the_document_shows_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    print_tables(COMMITTED)
    document = (ROOT / "docs" / "reproduction.md").read_text()
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(printed) > 70
    assert [line for line in printed if line not in document] == []
