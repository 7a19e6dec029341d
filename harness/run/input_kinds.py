"""Kinds of input: slices as a submission takes them (`input` of its manifest), mapped from and to the data set's own.

A submission that takes 8 bits and one that takes HU in 16 bits run on the same test set, and are scored alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from harness.base.errors import UsageError
from harness.base.png import Slice
from harness.base.slices import png_bytes, read_image
from harness.base.workers import map_slices
from harness.dataset.cases import Inputs
from harness.imaging.hounsfield import HU16, Image, Window, clipped, grey, hounsfield, hu_per_level, remap
from harness.submission.manifest import InputKind


def bits_of(kind: InputKind) -> Literal[8, 16]:
    """Bits of a pixel of the slices that a submission takes and writes."""
    return 16 if kind == "uint16-hu" else 8


def refuse_unmapped(kind: InputKind, dataset: Inputs) -> None:
    """UsageError where a submission takes HU, and nobody knows what the grey levels of the data are in HU."""
    if bits_of(kind) != dataset.bits and dataset.window_hu is None:
        raise UsageError(
            f"the submission states input: {kind}, but the protocol does not say what the data's grey levels are in HU",
            fix="state data.window_hu in the protocol, or run a submission that takes uint8",
        )


def to_container(image: Image, kind: InputKind, dataset: Inputs) -> Image:
    """A slice of the data set as a container gets it."""
    if bits_of(kind) == dataset.bits:
        return image
    own, theirs = _windows(kind, dataset)
    return remap(image, own, theirs, f"uint{bits_of(kind)}")


def from_container(output: Slice, kind: InputKind, dataset: Inputs) -> Slice:
    """A verified output as a slice of the data set's kind."""
    if bits_of(kind) == dataset.bits:
        return output
    own, theirs = _windows(kind, dataset)
    pixels = remap(output.pixels, theirs, own, f"uint{dataset.bits}")
    return Slice(pixels, png_bytes(pixels, compression="quick"))


def mapping_note(kind: InputKind, dataset: Inputs) -> str:
    """What the mapping costs, measured on the noisy input; "" where nothing is mapped."""
    if bits_of(kind) == dataset.bits:
        return ""
    assert dataset.window_hu is not None, "refuse_unmapped"
    low, high = dataset.window_hu
    step = hu_per_level(dataset.window_hu, np.uint8)
    if dataset.bits == 8:
        return f"takes HU: its outputs are rounded to the grey levels of the data, {step:.3g} HU each"
    found = map_slices(_cost, [(Path(one.lq), dataset.window_hu) for one in dataset.cases])
    moved, cut_off = (float(np.mean([one[index] for one in found])) for index in (0, 1))
    return (
        f"takes 8 bits: slices in HU are mapped to grey levels of {step:.3g} HU from {low:g} to {high:g} HU "
        f"and back, which alone moves the noisy input by {moved**0.5:.3g} HU (root mean square) and cuts off "
        f"{cut_off:.1%} of its pixels"
    )


def _cost(path: Path, window_hu: Window) -> tuple[float, float]:
    """Mean square in HU^2 of what showing a slice in HU as grey levels moves, and the share of pixels that it cuts
    off."""
    image = read_image(path)
    shown = grey(image, window_hu)
    moved = hounsfield(shown, window_hu) - hounsfield(image, HU16)
    return float(np.mean(moved**2)), float(np.mean(clipped(shown)))


def _windows(kind: InputKind, dataset: Inputs) -> tuple[Window, Window]:
    """The windows of the data set's slices and of the container's."""
    assert dataset.window_hu is not None, "refuse_unmapped"
    return (HU16, dataset.window_hu) if bits_of(kind) == 8 else (dataset.window_hu, HU16)
