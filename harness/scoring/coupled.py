"""Outputs of coupled slices -> the error without truth and without label, by region (`harness.imaging.coupled`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ScoringError
from harness.base.slices import read_grey, read_image
from harness.base.workers import map_slices
from harness.dataset.cases import Case, Dataset
from harness.dataset.coupled import KINDS, read_noise
from harness.imaging.coupled import Coupled, clipped_share, pooled, squared_error
from harness.imaging.regions import shrink
from harness.labels.label_set import LabelSet
from harness.protocol import Protocol
from harness.scoring.values import Table, Value, value_of
from harness.statistics import interval

METRIC = "RMSE"
MOST_CLIPPED = 0.01
"""Share of a region's pixels at the ends of the window, above which the estimate of the region does not hold."""


def coupled_table(
    outputs: Mapping[str, Path],
    dataset: Dataset,
    labels: LabelSet,
    protocol: Protocol,
    *,
    clipped: Mapping[str, float],
) -> Table:
    """The RMSE against the unknown truth, in HU, of verified outputs (slice name -> grey PNG) in every region of
    the protocol but those of `clipped_regions`.

    It is the root of the mean square over slices, with a jackknife over patients. A mean square below 0, possible where
    the error is small, keeps its sign under the root, so that values still rank. Empty where the protocol has no
    `coupled`, or the outputs lack one of the further slices.
    """
    slices = _slices(dataset, labels, protocol)
    wanted = [f"{one.case.name}-{kind}" for one in slices for kind in KINDS]
    if not slices or not outputs.keys() >= set(wanted):
        return {}
    tasks = [(one, tuple(outputs[f"{one.case.name}-{kind}"] for kind in KINDS)) for one in slices]
    errors = dict(zip([one.case for one in slices], map_slices(_errors, tasks), strict=True))
    found: dict[str, Value] = {}
    for region in protocol.regions:
        shown = {case: of[region] for case, of in errors.items() if region in of}
        if shown and region not in clipped:
            found[region] = _value(list(shown.values()), [case.patient for case in shown])
    return {METRIC: found} if found else {}


def check_ranked(dataset: Dataset, labels: LabelSet, protocol: Protocol) -> None:
    """ScoringError if the protocol ranks by an error without truth that its own slices do not allow."""
    by = protocol.rank_by
    if by.reference != "coupled":
        return
    share = clipped_regions(dataset, labels, protocol).get(by.region)
    if share is not None:
        raise ScoringError(
            f"protocol {protocol.name}: rank_by is the error without truth in {by.region}, but {share:.1%} of its "
            f"pixels are black or white in the noisy slices, expected at most {MOST_CLIPPED:.0%}",
            fix="widen data.window_hu, or rank by another region (rank_by.region)",
        )


def coupled_notes(clipped: Mapping[str, float]) -> tuple[str, ...]:
    """A line for each region of which the error without truth is not estimated (`clipped_regions`), and why."""
    return tuple(
        f"error without truth: none in {region}: {share:.1%} of its pixels are black or white in the noisy slices, and "
        f"more than {MOST_CLIPPED:.0%} cut too much off the noise; a wider data.window_hu would help"
        for region, share in clipped.items()
    )


class _Slice(NamedTuple):
    """A case with what its estimate needs."""

    case: Case
    inputs: tuple[Path, Path]
    noise: Path
    region_map: Path
    regions: tuple[str, ...]
    window_hu: tuple[float, float]
    step: float

    def coupled(self) -> Coupled:
        plus, minus = (read_image(path) for path in self.inputs)
        return Coupled(inputs=(plus, minus), noise=read_noise(self.noise), step=self.step)

    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """The protocol's regions that the slice shows."""
        found = shrink(read_grey(self.region_map))
        return {region: found[region] for region in self.regions if found[region].any()}


def _slices(dataset: Dataset, labels: LabelSet, protocol: Protocol) -> list[_Slice]:
    """The coupled cases of a test set, sorted by name; none where the protocol has no `coupled`."""
    if protocol.coupled is None or dataset.scale_hu is None:
        return []
    inputs = {(one.of, one.kind): Path(one.lq) for one in dataset.further}
    return [
        _Slice(
            case=case,
            inputs=(inputs[case.name, "plus"], inputs[case.name, "minus"]),
            noise=Path(dataset.coupled_noise[case.name]),
            region_map=labels.regions_path(case),
            regions=protocol.regions,
            window_hu=dataset.scale_hu,
            step=protocol.coupled.strength,
        )
        for case in sorted(dataset.cases, key=lambda case: case.name)
        if case.name in dataset.coupled_noise
    ]


def clipped_regions(dataset: Dataset, labels: LabelSet, protocol: Protocol) -> dict[str, float]:
    """The regions of which too much is clipped, each with its share of clipped pixels, a mean over slices.

    The same for all outputs; none where the protocol has no `coupled`.
    """
    shares: dict[str, list[float]] = {}
    for of in map_slices(_shares, [(one,) for one in _slices(dataset, labels, protocol)]):
        for region, share in of.items():
            shares.setdefault(region, []).append(share)
    means = {region: math.fsum(of) / len(of) for region, of in shares.items()}
    return {region: mean for region, mean in means.items() if mean > MOST_CLIPPED}


def _shares(one: _Slice) -> dict[str, float]:
    image, coupled = read_image(Path(one.case.lq)), one.coupled()
    return {region: clipped_share(image, coupled, mask) for region, mask in one.masks().items()}


def _errors(one: _Slice, outputs: tuple[Path, Path]) -> dict[str, float]:
    """The estimated mean square of a slice's error in HU^2, by region."""
    image, coupled = read_image(Path(one.case.lq)), one.coupled()
    plus, minus = (read_image(path) for path in outputs)
    return {
        region: squared_error((plus, minus), image, coupled, mask, window_hu=one.window_hu)
        for region, mask in one.masks().items()
    }


def _value(errors: list[float], patients: list[str]) -> Value:
    squares = pooled(errors, patients)
    roots = msgspec.structs.replace(
        squares,
        value=_signed_root(squares.value),
        without={patient: _signed_root(value) for patient, value in squares.without.items()},
    )
    return value_of(roots, interval(roots), higher_is_better=False, unit="HU")


def _signed_root(square: float) -> float:
    return math.copysign(math.sqrt(abs(square)), square)
