"""Outputs x references -> one value for each slice, image metric and region, on all cores; noise power spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness import metrics
from harness.base.slices import read_grey, read_image
from harness.base.structs import Strict
from harness.base.workers import map_slices
from harness.dataset.cases import Case
from harness.imaging.hounsfield import Window, data_range, hu_per_level, own_window
from harness.imaging.regions import shrink
from harness.metrics import ImageMetric, comparisons
from harness.protocol import Protocol

SPECTRUM_STEP = 0.02
"""Step of a mean spectrum's frequencies in 1/mm: about what a patch of 64 pixels of 0.75 mm resolves."""


class SliceValue(Strict, frozen=True, kw_only=True):
    """One image metric of one slice; null where the slice has nothing to measure in the region."""

    case: str
    patient: str
    reference: str
    metric: str
    region: str
    value: float | None


class SliceSpectrum(NamedTuple):
    """The radial noise power spectrum of one slice: frequencies in 1/mm or per pixel, power in grey levels squared."""

    reference: str
    region: str
    pixel_mm: float | None
    frequency: NDArray[np.float64]
    power: NDArray[np.float64]


class MeanSpectrum(Strict, frozen=True, kw_only=True):
    """Radial noise power spectrum of the outputs minus a reference in a region, averaged over `n` slices.

    `frequency` is in 1/mm and `power` in grey or HU squared times mm squared; both are per pixel where the width of a
    pixel is unknown. `unit` says which: grey or HU.
    """

    frequency: tuple[float, ...]
    power: tuple[float, ...]
    n: int
    unit: str


Spectra = dict[str, dict[str, MeanSpectrum]]  # reference -> region -> spectrum


class _Task(NamedTuple):
    """One slice to measure: its image, region map and references as files; what to measure, and where."""

    case: Case
    image: Path
    references: Mapping[str, Path]
    region_map: Path
    metrics: Mapping[str, ImageMetric]
    regions: Sequence[str]
    window_hu: Window | None


_Values = tuple[list[SliceValue], list[SliceSpectrum]]


def image_values(
    cases: Sequence[Case],
    produced: Sequence[Path],
    references: Mapping[str, Sequence[Path]],
    region_maps: Sequence[Path],
    protocol: Protocol,
    window_hu: Window | None,
) -> tuple[list[SliceValue], list[SliceSpectrum], list[SliceValue]]:
    """Every output's image metrics against every reference in every region, the spectra that some of them summarise,
    and the gate's metric of the noisy inputs.

    All files are grey PNGs in the order of `cases`; `window_hu` is the HU of grey 0 and 255.
    """
    loaded = {one.name: metrics.load(one.metric) for one in protocol.metrics}
    wanted = {name: metric for name, metric in loaded.items() if isinstance(metric, ImageMetric)}
    gate = {name: metric for name, metric in wanted.items() if name == protocol.gate.metric}
    outputs, inputs = [], []
    for index, case in enumerate(cases):
        targets = {name: paths[index] for name, paths in references.items()}
        task = _Task(case, produced[index], targets, region_maps[index], wanted, protocol.regions, window_hu)
        outputs.append(task)
        inputs.append(task._replace(image=Path(case.lq), metrics=gate, regions=[protocol.gate.region]))
    done = map_slices(_slice_values, [(task,) for task in (*outputs, *inputs)])
    own, noisy = done[: len(cases)], done[len(cases) :]
    return (
        [one for values, _ in own for one in values],
        [one for _, spectra in own for one in spectra],
        [one for values, _ in noisy for one in values],
    )


def _slice_values(task: _Task) -> _Values:
    case, image = task.case, read_image(task.image)
    all_masks = shrink(read_grey(task.region_map))
    masks = {region: all_masks[region] for region in task.regions}
    references = {name: read_image(path) for name, path in task.references.items()}
    full = data_range(image, task.window_hu)
    window = None if task.window_hu is None else own_window(image, task.window_hu)
    values: list[SliceValue] = []
    spectra: list[SliceSpectrum] = []
    for one in comparisons(references, task.metrics, masks):
        found = one.measure(
            image,
            data_range=full,
            pixel_mm=case.pixel_mm,
            window_hu=window,
        )
        if found.spectrum is not None:
            spectra.append(SliceSpectrum(one.reference, one.region, case.pixel_mm, *found.spectrum))
        scale = 1.0 if window is None or one.metric.unit != "grey" else hu_per_level(window, image.dtype)
        values.append(
            SliceValue(
                case=case.name,
                patient=case.patient,
                reference=one.reference,
                metric=one.name,
                region=one.region,
                value=None if found.value is None else found.value * scale,
            )
        )
    return values, spectra


def mean_spectra(slices: Sequence[SliceSpectrum], hu_per_level: float | None) -> Spectra:
    """The mean over slices by reference and region, at common frequencies within the range of all slices."""
    groups: dict[tuple[str, str], list[SliceSpectrum]] = {}
    for one in slices:
        groups.setdefault((one.reference, one.region), []).append(one)
    found: Spectra = {}
    for (reference, region), group in groups.items():
        low, high = max(one.frequency[0] for one in group), min(one.frequency[-1] for one in group)
        frequency = group[0].frequency
        if any(one.pixel_mm is not None for one in group):
            frequency = np.arange(np.ceil(low / SPECTRUM_STEP), np.floor(high / SPECTRUM_STEP) + 1) * SPECTRUM_STEP
        power = np.mean([np.interp(frequency, one.frequency, one.power) for one in group], axis=0)
        found.setdefault(reference, {})[region] = MeanSpectrum(
            frequency=tuple(float(f"{one:.4g}") for one in frequency),
            power=tuple(float(f"{one:.5g}") for one in power * (hu_per_level or 1.0) ** 2),
            n=len(group),
            unit="grey" if hu_per_level is None else "HU",
        )
    return found
