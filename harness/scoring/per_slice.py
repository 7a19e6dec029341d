"""Outputs x references -> one value for each slice, image metric and region, on all cores; noise power spectra."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness import metrics
from harness.base.slices import read_grey, read_image
from harness.base.structs import Strict
from harness.base.workers import map_slices
from harness.dataset.cases import Case
from harness.imaging.hounsfield import Image, Window, data_range, hu_per_level, own_window
from harness.imaging.regions import shrink
from harness.metrics import Comparison, ImageMetric, comparisons

if TYPE_CHECKING:
    from harness.protocol import Protocol  # which takes a worker longer to import than all else here

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


class _Values(NamedTuple):
    """What was measured of slices: every value of the outputs, their spectra, and the gate's of the noisy inputs."""

    own: list[SliceValue]
    spectra: list[SliceSpectrum]
    noisy: list[SliceValue]


class _Task(NamedTuple):
    """One slice to measure: its output, region map and references as files; what to measure, and where."""

    case: Case
    output: Path
    references: Mapping[str, Path]
    region_map: Path
    metrics: Mapping[str, ImageMetric]
    regions: Sequence[str]
    gate: tuple[str, str]  # its metric and region
    window_hu: Window | None


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

    All files are grey PNGs in the order of `cases`, each read once; `window_hu` is the HU of grey 0 and 255.
    """
    loaded = {one.name: metrics.load(one.metric) for one in protocol.metrics}
    wanted = {name: metric for name, metric in loaded.items() if isinstance(metric, ImageMetric)}
    tasks = [
        _Task(
            case=case,
            output=produced[index],
            references={name: paths[index] for name, paths in references.items()},
            region_map=region_maps[index],
            metrics=wanted,
            regions=protocol.regions,
            gate=(protocol.gate.metric, protocol.gate.region),
            window_hu=window_hu,
        )
        for index, case in enumerate(cases)
    ]
    found = map_slices(_slice_values, [(task,) for task in tasks])
    return (
        [one for of_slice in found for one in of_slice.own],
        [one for of_slice in found for one in of_slice.spectra],
        [one for of_slice in found for one in of_slice.noisy],
    )


def _slice_values(task: _Task) -> _Values:
    masks = shrink(read_grey(task.region_map))
    references = {name: read_image(path) for name, path in task.references.items()}
    own, noisy = read_image(task.output), read_image(Path(task.case.lq))
    values, spectra = _measured(
        task, own, comparisons(references, task.metrics, {region: masks[region] for region in task.regions})
    )
    name, region = task.gate
    bound, _ = _measured(task, noisy, comparisons(references, {name: task.metrics[name]}, {region: masks[region]}))
    return _Values(values, spectra, bound)


def _measured(task: _Task, image: Image, wanted: Iterable[Comparison]) -> tuple[list[SliceValue], list[SliceSpectrum]]:
    case = task.case
    full = data_range(image, task.window_hu)
    window = None if task.window_hu is None else own_window(image, task.window_hu)
    values: list[SliceValue] = []
    spectra: list[SliceSpectrum] = []
    for one in wanted:
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
