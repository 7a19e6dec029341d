"""Are lesions still seen? d' of both observers in outputs with and without lesions, beside the noisy input's.

The observers are `harness.observer`'s; docs/observer.md says what they measure. Images have whole levels: noise below
what rounding to them makes is taken for that much, so that an output without any noise has a finite d'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ScoringError
from harness.base.slices import read_image
from harness.dataset.cases import Case, Dataset
from harness.imaging.lesion import Lesion, roi_half
from harness.observer import cut_rois
from harness.observer.detection import Detection, Outputs, detect, observe, rounding_variance
from harness.observer.hotelling import CHANNELS
from harness.scoring.values import Table, Value, value_of
from harness.statistics import Interval, Replicates, interval, paired_difference

ALL = "all"
"""In place of a condition: the mean over all of them, which one test may judge without a correction for many."""
HOTELLING, EYE = "d' (Hotelling)", "d' (eye)"
EXACT = f"{HOTELLING[:-1]}, exact interval)"
FEWEST_SITES = (CHANNELS + 4 + 1) // 2
"""Sites of a condition, without and with lesions, that the Hotelling observer needs."""


def less_input(metric: str) -> str:
    """The name of a d' less that of the noisy input at the same sites."""
    return f"{metric} less the input's"


class _Plane(NamedTuple):
    """Images of a plane without and with lesions, at the sites of its case."""

    case: Case
    absent: Path
    present: Path


def lesion_table(outputs: Mapping[str, Path], dataset: Dataset) -> Table | None:
    """d' by condition and for all of them; None for data without lesions, or without the outputs that show them.

    `outputs` are grey PNGs by the name of what they were made of. Intervals are jackknives over patients, that of
    a difference the paired one, those of EXACT the observer's own for independent sites (`hotelling.exact_bounds`).
    Each condition is judged as if it stood alone. ScoringError as `check_sites`.
    """
    present = {one.of: one for one in dataset.further if one.kind == "lesions"}
    if not present or not all(one.name in outputs for one in present.values()):
        return None
    check_sites(dataset)
    cases = [case for case in dataset.cases if case.name in present]
    own = _detections([_Plane(one, outputs[one.name], outputs[present[one.name].name]) for one in cases], dataset)
    noisy = _detections([_Plane(one, Path(one.lq), Path(present[one.name].lq)) for one in cases], dataset)
    conditions = [str(lesion) for lesion in dataset.lesions]
    table: Table = {}
    for metric, of in ((HOTELLING, _by_hotelling), (EYE, _by_eye)):
        first, second = (_with_mean(conditions, [of(one) for one in found]) for found in (own, noisy))
        table[metric] = {name: _value(one, interval(one)) for name, one in first.items()}
        table[less_input(metric)] = {name: _difference(one, second[name]) for name, one in first.items()}
    table[EXACT] = {
        name: Value(
            value=one.hotelling.value,
            low=one.exact.low,
            high=one.exact.high,
            n=one.hotelling.n,
            higher_is_better=None,
            unit="",
            without={},
        )
        for name, one in zip(conditions, own, strict=True)
    }
    return table


def check_sites(dataset: Dataset) -> None:
    """ScoringError unless every condition has the sites that the Hotelling observer needs without any one patient, and
    every slice with lesions its pixel size. The eye has an interval from three patients on."""
    patients = {case.name: case.patient for case in dataset.cases}
    fix = "raise data.slices, data.lesions.sites or data.patients of the protocol"
    for number, lesion in enumerate(dataset.lesions):
        owners = [patients[name] for name, sites in dataset.sites.items() for one in sites if one.condition == number]
        most = max((owners.count(patient) for patient in set(owners)), default=0)
        if len(owners) - most < FEWEST_SITES or len(set(owners)) < 2:
            raise ScoringError(
                f"lesions of {lesion}: expected sites in 2 patients, at least {FEWEST_SITES} without any one of them, "
                f"found {len(owners)} in {len(set(owners))}, {most} of them in one",
                fix=fix,
            )
    unknown = [case.name for case in dataset.cases if case.name in dataset.sites and case.pixel_mm is None]
    if unknown:
        raise ScoringError(f"slice {unknown[0]}: lesions are seen in mm, but its pixel size is unknown")


# -------------------------------------------------------------------------------- what the observers see
def _detections(planes: Sequence[_Plane], dataset: Dataset) -> list[Detection]:
    """d' of each condition in these images."""
    rois: list[tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]] = [([], []) for _ in dataset.lesions]
    owners: list[list[Case]] = [[] for _ in dataset.lesions]
    for plane in planes:
        absent, present = read_image(plane.absent), read_image(plane.present)
        half = roi_half(absent.shape[0])
        for number, places in _places(dataset, plane.case):
            for kept, image in zip(rois[number], (absent, present), strict=True):
                kept.append(cut_rois(image, places, half=half))
            owners[number] += [plane.case] * len(places)
    return [
        _detection(lesion, np.concatenate(without), np.concatenate(with_lesion), of)
        for lesion, (without, with_lesion), of in zip(dataset.lesions, rois, owners, strict=True)
    ]


def _places(dataset: Dataset, case: Case) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """The conditions that a case has sites of, and where these are."""
    sites = dataset.sites.get(case.name, ())
    for number in sorted({one.condition for one in sites}):
        yield number, [(one.row, one.column) for one in sites if one.condition == number]


def _detection(
    lesion: Lesion, absent: NDArray[np.float64], present: NDArray[np.float64], cases: Sequence[Case]
) -> Detection:
    sizes = [float(case.pixel_mm or 0) for case in cases]  # `check_sites` has found that all are known

    def seen(rois: NDArray[np.float64]) -> Outputs:
        return observe(rois, diameter_mm=lesion.diameter_mm, pixel_mm=sizes)

    patients = [case.patient for case in cases]
    return detect(seen(absent), seen(present), patients, rounding=rounding_variance(sizes))


# -------------------------------------------------------------------------------- values
def _by_hotelling(of: Detection) -> Replicates:
    return of.hotelling


def _by_eye(of: Detection) -> Replicates:
    return of.eye


def _with_mean(conditions: Sequence[str], found: Sequence[Replicates]) -> dict[str, Replicates]:
    """The replicates of every condition, and of their mean.

    A patient without sites of a condition changes nothing there. The mean has no replicates if any condition has none.
    """
    patients = sorted({patient for one in found for patient in one.without})
    without = {patient: float(np.mean([one.without.get(patient, one.value) for one in found])) for patient in patients}
    mean = Replicates(
        value=float(np.mean([one.value for one in found])),
        n=sum(one.n for one in found),
        without=without if all(one.without for one in found) else {},
    )
    return dict(zip(conditions, found, strict=True)) | {ALL: mean}


def _value(of: Replicates, bounds: Interval) -> Value:
    return value_of(of, bounds, higher_is_better=True, unit="")


def _difference(own: Replicates, noisy: Replicates) -> Value:
    found = paired_difference(own, noisy)
    common = own.without.keys() & noisy.without.keys()
    without = {patient: own.without[patient] - noisy.without[patient] for patient in sorted(common)}
    return _value(Replicates(value=found.value, n=found.n, without=without), found)
