"""The cells of the reproduction as markdown tables: values by model and recipe, and the paper's claims."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau
from scipy.stats import t as student

from benchmarks.reproduction_cells import DISTANCES, FOLDER, NO_TRUTH, RECIPES, REGIONS, TRUE_ERROR, Cell, Results
from benchmarks.train import MODELS
from harness.base.structs import read_json
from harness.scoring.lesions import ALL, EYE, HOTELLING, less_input

Column = tuple[str, str, str, int]  # heading, metric, region, digits


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half of its 95 % interval over seeds (Student's t); nan for one seed."""
    if len(values) < 2:
        return float(np.mean(values)), float("nan")
    half = student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return float(np.mean(values)), float(half)


def shown(values: Sequence[float], digits: int) -> str:
    mean, half = spread(values)
    return f"{mean:.{digits}f}" + ("" if np.isnan(half) else f" ± {half:.{digits}f}")


def distance_columns() -> list[Column]:
    """The columns of the tables against label and truth."""
    found = []
    for metric, region in itertools.product(DISTANCES, REGIONS):
        if metric != "CLIP-FID" or region == "whole":  # CLIP has no maps to pool over a region
            found.append((f"{metric} {region}", metric, region, {"FID": 3, "KID": 4, "CLIP-FID": 3}[metric]))
    return [*found, ("RMSE lung, HU", "RMSE", "lung", 1), ("RMSE whole, HU", "RMSE", "whole", 1)]


LUNG_COLUMNS: list[Column] = [
    ("RMSE, HU", "RMSE", "lung", 1),
    ("bias, HU", "bias", "lung", 1),
    ("noise, HU", "noise", "lung", 1),
    ("vessel contrast", "vessel contrast", "lung", 2),
]
LESION_COLUMNS: list[Column] = [
    ("d' (Hotelling)", HOTELLING, ALL, 2),
    ("less the input's", less_input(HOTELLING), ALL, 2),
    ("d' (eye)", EYE, ALL, 2),
    ("less the input's", less_input(EYE), ALL, 2),
]
REAL_COLUMNS: list[Column] = [
    (f"{metric} {region}", metric, region, digits)
    for metric, region, digits in (
        (TRUE_ERROR, "lung", 1), (NO_TRUTH, "lung", 1), (TRUE_ERROR, "body", 1), (NO_TRUTH, "body", 1),
        (TRUE_ERROR, "whole", 1), ("bias", "lung", 1), ("SSIM", "lung", 3), ("noise", "lung", 1),
    )
]  # fmt: skip


def table(
    cells: Sequence[Cell], columns: Sequence[Column], value: Callable[[Cell, str, str], float], *first: str
) -> None:
    """Every model and recipe, mean over seeds of `value(cell, metric, region)`; `first` are rows above them."""
    print(f"| model | trained on | {' | '.join(head for head, *_ in columns)} |")
    print("|---|---|" + "--:|" * len(columns))
    for row in first:
        print(row)
    for model, recipe in itertools.product(MODELS, RECIPES):
        own = [one for one in cells if (one.model, one.recipe) == (model, recipe)]
        if own:
            row_of = [
                shown([value(one, metric, region) for one in own], digits) for _, metric, region, digits in columns
            ]
            print(f"| {model} | {RECIPES[recipe]} | {' | '.join(row_of)} |")


def against(reference: str) -> Callable[[Cell, str, str], float]:
    """The values of cells against the label or the truth, or of lesions."""
    return lambda cell, metric, region: cell.values[reference][metric][region][0]


CLAIMS = (
    ("IPv2 is better than IPv1", "ipv2", "ipv1"),
    ("Remove Background alone is better than IPv1", "rb", "ipv1"),
    ("Add Noise alone is better than IPv1", "an", "ipv1"),
    ("both together are better than Remove Background alone", "ipv2", "rb"),
    ("both together are better than Add Noise alone", "ipv2", "an"),
    ("IPv1 is better than raw pairs", "ipv1", "none"),
    ("corrected IPv2 is better than published IPv2", "ipv2 corrected", "ipv2"),
)


def claims(results: Results, reference: str) -> None:
    """The change from one recipe to another, in percent, paired by seed; bold where the interval leaves zero out."""
    models = [model for model in MODELS if any(one.model == model for one in results.cells)]
    heads = [(f"{metric} {model}", metric, model) for metric in (*DISTANCES, "RMSE") for model in models]
    print(f"| claim, whole slices | {' | '.join(head for head, *_ in heads)} |")
    print("|---|" + "--:|" * len(heads))
    for words, better, worse in CLAIMS:
        row = []
        for _, metric, model in heads:
            by_seed = {
                recipe: {
                    one.seed: against(reference)(one, metric, "whole")
                    for one in results.cells
                    if (one.model, one.recipe) == (model, recipe)
                }
                for recipe in (better, worse)
            }
            seeds = sorted(by_seed[better].keys() & by_seed[worse].keys())
            changes = [100 * (by_seed[better][seed] / by_seed[worse][seed] - 1) for seed in seeds]
            if not changes or min(by_seed[worse].values()) <= 0:  # KID may be: it has no percent then
                row.append("–")
                continue
            mean, half = spread(changes)
            text = f"{mean:+.0f} %"
            row.append(f"**{text}**" if abs(mean) > half else text)
        print(f"| {words} | {' | '.join(row)} |")


def real_table(results: Results) -> None:
    """Paired errors on real slices."""
    noisy = read_json(FOLDER / "real-input.json", dict[str, dict[str, float]])
    own = [f"{noisy[metric][region]:.{digits}f}" for _, metric, region, digits in REAL_COLUMNS]
    measured = [(one, one.real) for one in results.cells if one.real is not None]
    values = {one.key: real for one, real in measured}
    table(
        [one for one, _ in measured],
        REAL_COLUMNS,
        lambda cell, metric, region: values[cell.key][metric][region],
        f"| noisy input | – | {' | '.join(own)} |",
    )
    print()
    for region in ("lung", "body"):
        errors = ([real[metric][region] for real in values.values()] for metric in (TRUE_ERROR, NO_TRUTH))
        print(f"Kendall's tau of both errors, {region}, {len(values)} networks: {kendalltau(*errors).statistic:.2f}")


def print_tables(path: Path) -> None:
    results = read_json(path, Results)
    seeds = sorted({one.seed for one in results.cells})
    spent = {name: sum(getattr(one, name) for one in results.cells) / 60 for name in ("train_s", "apply_s", "score_s")}
    print(
        f"Setting {path.stem}, {len(results.cells)} networks, seeds {seeds}, {results.machine}, torch {results.torch}: "
        f"{spent['train_s']:.0f} min training, {spent['apply_s']:.0f} min on the test set, "
        f"{spent['score_s']:.0f} min scoring\n"
    )
    for reference in ("label", "truth"):
        print(f"## Against the {reference}\n")
        table(results.cells, distance_columns(), against(reference))
        print()
        claims(results, reference)
        print()
    print("## In the lung, against the truth\n")
    table(results.cells, LUNG_COLUMNS, against("truth"))
    print()
    print("## Lesions\n")
    table(results.cells, LESION_COLUMNS, against("lesions"))
    print()
    if any(one.real for one in results.cells):
        print("## Real slices with inserted noise\n")
        real_table(results)
