"""A tiny test set on disk with its labels and outputs, for tests of pictures and of pages that show them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.base.slices import write_grey
from harness.dataset.cases import Case, Dataset
from harness.imaging.regions import Code
from harness.labels.label_set import LabelSet
from harness.scoring.per_slice import SliceValue
from harness.scoring.score import Fidelity, Scorecard

SIZE = 96
CASES = tuple(f"p{patient}-s{number}" for patient in (1, 2, 3) for number in (1, 2))


def codes() -> NDArray[np.uint8]:
    """Air around a body from row 20 to 79, column 10 to 85, with a lung in it."""
    found = np.full((SIZE, SIZE), Code.AIR, np.uint8)
    found[20:80, 10:86] = Code.BODY
    found[35:65, 25:45] = Code.LUNG
    return found


def picture_set(folder: Path, *, noise: float = 20.0) -> tuple[Dataset, LabelSet, Mapping[str, Path]]:
    """Six slices of three patients; outputs are the truth with `noise` grey levels of Gaussian noise."""
    rng = np.random.default_rng(1)
    clean = np.where(codes() == Code.BODY, 130, np.where(codes() == Code.LUNG, 40, 5)).astype(np.float64)
    cases = []
    for name in CASES:
        for kind, spread in (("lq", 30.0), ("gt", 3.0), ("truth", 0.0), ("labels", 5.0), ("output", noise)):
            image = np.clip(clean + rng.normal(0, spread, clean.shape), 0, 255).astype(np.uint8)
            write_grey(folder / kind / f"{name}.png", image)
        write_grey(folder / "regions" / f"{name}.png", codes())
        paths: dict[str, Any] = {kind: str(folder / kind / f"{name}.png") for kind in ("lq", "gt", "truth", "regions")}
        cases.append(Case(name=name, patient=name[:2], pixel_mm=1.0, **paths))
    dataset = Dataset(cases=tuple(cases), window_hu=(-1024, 1200), digest="data")
    labels = LabelSet(folder=str(folder), digest="labels", consensus=None)
    return dataset, labels, {name: folder / "output" / f"{name}.png" for name in CASES}


def slice_values(errors: Mapping[str, float | None]) -> tuple[SliceValue, ...]:
    """RMSE of the whole slice against the truth by case."""
    kind = {"reference": "truth", "metric": "RMSE", "region": "whole"}
    return tuple(SliceValue(case=case, patient=case[:2], value=error, **kind) for case, error in errors.items())


def scorecard(errors: Mapping[str, float | None]) -> Scorecard:
    """A scorecard that holds nothing but those errors."""
    gate = Fidelity(reference="truth", metric="RMSE", region="whole", value=1, bound=2, passed=True)
    return Scorecard(
        label={},
        truth=None,
        gate=gate,
        extractors={},
        implementations={},
        slices=slice_values(errors),
        spectra={},
        features=b"",
        flags=(),
        notes=(),
    )
