"""What part of an error stays the same from scan to scan, and what part does not: bias and variance of a denoiser.

Several low-dose scans of a plane differ in their noise alone. Of R outputs f_r with the mean m and the variance s^2
(over R - 1), against the truth x, a pixel's squared bias is estimated by (m - x)^2 - s^2 / R, without the share that
the noise has in m, and its variance by s^2. Both are unbiased, and their sum is the mean of (f_r - x)^2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.base.slices import read_grey, read_image
from harness.dataset.cases import Case, Dataset
from harness.imaging.hounsfield import Image
from harness.imaging.regions import shrink
from harness.scoring.values import Table, Value
from harness.statistics import interval, replicates

SYSTEMATIC, RANDOM = "systematic error", "random error"


class Parts(NamedTuple):
    """Means over a region's pixels, in grey levels squared; the bias may come out below 0 where it is small."""

    squared_bias: float
    variance: float


class Scans(NamedTuple):
    """A plane: its case, and the outputs of all its low-dose scans, two or more."""

    case: Case
    outputs: tuple[Path, ...]


def scans_of(outputs: Mapping[str, Path], dataset: Dataset) -> list[Scans]:
    """The planes that were scanned several times and whose truth is known, by name; none where outputs are missing."""
    names: dict[str, list[str]] = {}
    for one in dataset.further:
        if one.kind == "again":
            names.setdefault(one.of, [one.of]).append(one.name)
    if not all(name in outputs for of_plane in names.values() for name in of_plane):
        return []
    cases = sorted(dataset.cases, key=lambda case: case.name)
    return [
        Scans(case, tuple(outputs[name] for name in names[case.name]))
        for case in cases
        if case.name in names and case.truth
    ]


def scan_table(
    outputs: Mapping[str, Path],
    dataset: Dataset,
    region_maps: Mapping[str, Path],
    regions: Sequence[str],
    hu_per_level: float | None,
) -> Table | None:
    """SYSTEMATIC and RANDOM error by region, in HU where the window is known; None without several scans of a plane.

    Mean squares are pooled over the planes that show a region, each counting alike, and their root is the value. The
    interval is the root of the jackknife's over patients of the mean square, which is symmetric and may reach below 0:
    what is below 0 shows as 0, no error that could be told. `without` holds roots, too. `region_maps` by case.
    """
    planes = scans_of(outputs, dataset)
    if not planes:
        return None
    found = [_parts(one, region_maps[one.case.name], regions) for one in planes]
    table: Table = {}
    for index, metric in enumerate((SYSTEMATIC, RANDOM)):
        for region in regions:
            rows = [
                (one.case.patient, parts[region][index])
                for one, parts in zip(planes, found, strict=True)
                if region in parts
            ]
            if rows:
                table.setdefault(metric, {})[region] = _value(rows, hu_per_level)
    return table


def error_parts(images: Sequence[Image], truth: Image, mask: NDArray[np.bool_]) -> Parts:
    """Squared bias and variance in a region (bool, not empty) of R >= 2 outputs of a plane (height, width).

    All sums are of whole numbers, and the same on every machine.
    """
    count = len(images)
    pixels = np.stack([image[mask] for image in images]).astype(np.int64)
    total = pixels.sum(axis=0)
    off = int(((total - count * truth[mask].astype(np.int64)) ** 2).sum())  # R^2 sum of (m - x)^2
    apart = int((count * (pixels**2).sum(axis=0) - total**2).sum())  # R (R - 1) sum of s^2
    size = count**2 * pixels.shape[1]
    variance = apart / ((count - 1) * size) * count
    return Parts(squared_bias=off / size - variance / count, variance=variance)


def _parts(plane: Scans, region_map: Path, regions: Sequence[str]) -> dict[str, Parts]:
    images = [read_image(path) for path in plane.outputs]
    truth, masks = read_image(Path(str(plane.case.truth))), shrink(read_grey(region_map))
    return {region: error_parts(images, truth, masks[region]) for region in regions if masks[region].any()}


def _value(rows: Sequence[tuple[str, float]], hu_per_level: float | None) -> Value:
    scale = (hu_per_level or 1.0) ** 2
    squares = np.array([square * scale for _, square in rows])
    found = replicates(lambda chosen: float(squares[chosen].mean()), [patient for patient, _ in rows])
    bounds = interval(found)
    return Value(
        value=_root(found.value),
        low=None if bounds.low is None else _root(bounds.low),
        high=None if bounds.high is None else _root(bounds.high),
        n=found.n,
        higher_is_better=False,
        unit="grey" if hu_per_level is None else "HU",
        without={patient: _root(square) for patient, square in found.without.items()},
    )


def _root(square: float) -> float:
    return math.sqrt(max(square, 0.0))
