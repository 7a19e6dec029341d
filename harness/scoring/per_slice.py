"""Measure: outputs x references -> one value a slice, image metric and region, on all cores; noise power spectra."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness import metrics as metrics_of
from harness.base.slices import read_grey
from harness.base.structs import Strict
from harness.base.workers import map_slices
from harness.dataset.cases import Case
from harness.imaging.regions import shrink
from harness.protocol import Protocol

DATA_RANGE = 255.0  # of 8-bit slices

SPECTRUM_STEP = 0.02  # 1/mm, about what a patch of 64 pixels of 0.75 mm tells apart


class SliceValue(Strict, frozen=True, kw_only=True):
    """One image metric of one slice; null where the region is empty there."""

    case: str
    patient: str
    reference: str
    metric: str
    region: str
    value: float | None


class SliceSpectrum(NamedTuple):
    """The radial noise power spectrum of one slice, frequencies in 1/mm or per pixel, in grey levels squared."""

    reference: str
    region: str
    pixel_mm: float | None
    frequency: NDArray[np.float64]
    power: NDArray[np.float64]


class MeanSpectrum(Strict, frozen=True, kw_only=True):
    """Radial noise power spectrum averaged over `n` slices: what outputs differ by from a reference in a region.

    `frequency` in 1/mm and `power` in grey or HU squared times mm squared; per pixel where the pixel's width is
    unknown. `unit` is that of the power's root at 1 mm (or pixel): grey or HU.
    """

    frequency: tuple[float, ...]
    power: tuple[float, ...]
    n: int
    unit: str


Spectra = dict[str, dict[str, MeanSpectrum]]  # reference -> region -> spectrum


def image_values(
    cases: Sequence[Case],
    produced: Sequence[Path],
    references: Mapping[str, Sequence[Path]],
    regions: Sequence[Path],
    protocol: Protocol,
    hu_per_grey: float | None,
) -> tuple[list[SliceValue], list[SliceSpectrum], list[SliceValue]]:
    """Every slice's image metrics against every reference in every region, the spectra that some of them sum up, and
    the noisy input's gate metric."""
    wanted = [(one.name, one.metric) for one in protocol.metrics if metrics_of.load(one.metric).KIND == "image"]
    gate = [(name, module) for name, module in wanted if name == protocol.gate.metric]
    # a worker process would take seconds to import torch
    by_torch = [(name, metric) for name, metric in wanted if getattr(metrics_of.load(metric), "USES_TORCH", False)]
    light = [one for one in wanted if one not in by_torch]
    of_outputs, of_inputs = [], []
    for index, case in enumerate(cases):
        targets = {name: paths[index] for name, paths in references.items()}
        of_outputs.append((case, produced[index], targets, regions[index], light, protocol.regions, hu_per_grey))
        of_inputs.append((case, Path(case.lq), targets, regions[index], gate, [protocol.gate.region], hu_per_grey))
    done = map_slices(_slice_values, [*of_outputs, *of_inputs])
    own, noisy = done[: len(cases)], done[len(cases) :]
    if by_torch:
        tasks = [(*one[:4], by_torch, *one[5:]) for one in of_outputs]
        own += _in_torch_threads(tasks)
    return (
        [one for values, _ in own for one in values],
        [one for _, spectra in own for one in spectra],
        [one for values, _ in noisy for one in values],
    )


def _in_torch_threads(tasks: Sequence[tuple[Any, ...]]) -> list[tuple[list[SliceValue], list[SliceSpectrum]]]:
    """`_slice_values` of every task, a thread a core, each with one thread of torch's: the order in which float32 is
    summed, and so the last digits, would depend on how many there are."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(lambda task: _slice_values(*task), tasks))
    finally:
        torch.set_num_threads(before)


def _slice_values(
    case: Case,
    output: Path,
    references: Mapping[str, Path],
    codes: Path,
    wanted: Sequence[tuple[str, str]],
    regions: Sequence[str],
    hu_per_grey: float | None,
) -> tuple[list[SliceValue], list[SliceSpectrum]]:
    image = read_grey(output)
    masks = shrink(read_grey(codes))
    values: list[SliceValue] = []
    spectra: list[SliceSpectrum] = []
    for reference, path in references.items():
        target = read_grey(path)
        for name, metric in wanted:
            module = metrics_of.load(metric)
            scale = hu_per_grey if hu_per_grey is not None and module.UNIT == "grey" else 1.0
            for region in regions if module.REGIONS is None else [one for one in regions if one in module.REGIONS]:
                mask = masks[region]
                value = None
                if mask.any() and hasattr(module, "spectrum"):
                    found = module.spectrum(image, target, mask, pixel_mm=case.pixel_mm)
                    if found is not None:
                        value = module.of_spectrum(found)
                        spectra.append(SliceSpectrum(reference, region, case.pixel_mm, *found))
                elif mask.any():
                    value = module.value(image, target, mask, data_range=DATA_RANGE, pixel_mm=case.pixel_mm)
                value = None if value is None else value * scale
                facts = {"case": case.name, "patient": case.patient, "reference": reference, "metric": name}
                values.append(SliceValue(**facts, region=region, value=value))
    return values, spectra


def mean_spectra(slices: Sequence[SliceSpectrum], hu_per_grey: float | None) -> Spectra:
    """The mean over slices by reference and region, on common frequencies that all slices reach."""
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
            power=tuple(float(f"{one:.5g}") for one in power * (hu_per_grey or 1.0) ** 2),
            n=len(group),
            unit="grey" if hu_per_grey is None else "HU",
        )
    return found
