"""Anchors: reference rows of a board, made by the harness itself, without a container.

They put a number into context: the noisy input, blurring alone, the weak denoiser that made the labels (and profits
from it), and on the phantom the truth and another normal-dose scan, the best that a denoiser can reach. They are shown
and never ranked.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from harness.base.slices import read_image, write_grey
from harness.base.structs import Strict
from harness.base.workers import map_slices
from harness.dataset.cases import Dataset, NoisySlice
from harness.imaging import denoise
from harness.imaging.hounsfield import Image, whole_levels
from harness.protocol import Purify
from harness.submission.manifest import ANCHOR_PREFIX, NOISY_INPUT

BLURS = (1.0, 2.0, 4.0)
"""Standard deviations of the Gaussian blur ladder, in pixels."""


class Anchor(Strict, frozen=True, kw_only=True):
    """A reference row: its slug and name on the board, and how its images are made."""

    slug: str
    name: str
    kind: str
    sigma: float = 0.0


def anchors_of(dataset: Dataset, purify: Purify) -> list[Anchor]:
    """The anchors that a test set allows, from the noisy input up."""
    found = [Anchor(slug=NOISY_INPUT, name="Noisy input", kind="lq")]
    for sigma in BLURS:
        name = f"Gaussian blur, sigma {sigma:g} px"
        found.append(Anchor(slug=f"{ANCHOR_PREFIX}blur-{sigma:g}", name=name, kind="blur", sigma=sigma))
    if purify.removes_noise:
        name = f"Weak denoiser of the labels ({purify.weak_denoiser})"
        found.append(Anchor(slug=f"{ANCHOR_PREFIX}weak-denoiser", name=name, kind="weak"))
    if all(case.aligned_gt for case in dataset.cases):
        found.append(Anchor(slug=f"{ANCHOR_PREFIX}normal-dose", name="Another normal-dose scan, aligned", kind="again"))
    if all(case.truth for case in dataset.cases):
        found.append(Anchor(slug=f"{ANCHOR_PREFIX}truth", name="Truth", kind="truth"))
    return found


def make_anchor(
    anchor: Anchor, dataset: Dataset, purify: Purify, folder: Path, *, weak_outputs: Mapping[str, Path] | None
) -> dict[str, Path]:
    """Write an anchor's images to `folder` and return them like a submission's outputs: name -> grey PNG.

    They are made of every slice that a container sees (`Dataset.shown`), as far as the anchor has an image of it: of
    further slices the truth shows none, and another normal-dose scan those with lesions.
    `weak_outputs` are the outputs of the submission that serves as weak denoiser, if one does.
    """
    sources = {one.name: source for one in dataset.shown if (source := _source(anchor, one, weak_outputs))}
    outputs = {name: folder / f"{name}.png" for name in sources}
    map_slices(_make, [(anchor, source, purify.weak_denoiser, outputs[name]) for name, source in sources.items()])
    return outputs


class _Source(NamedTuple):
    """A file that an anchor's image is made of, and whether it is that image already."""

    path: Path
    finished: bool


def _source(anchor: Anchor, one: NoisySlice, weak_outputs: Mapping[str, Path] | None) -> _Source | None:
    """What an anchor's image of a slice is made of; None where there is nothing."""
    match anchor.kind:
        case "lq" | "blur":
            return _Source(Path(one.lq), anchor.kind == "lq")
        case "weak":
            if weak_outputs is None:
                return _Source(Path(one.lq), False)
            return _Source(weak_outputs[one.name], True) if one.name in weak_outputs else None
        case kind:  # `again` is part of the row's digest, and so of its records
            path = getattr(one, "aligned_gt" if kind == "again" else kind, None)
            return None if path is None else _Source(Path(path), True)


def _make(anchor: Anchor, source: _Source, weak_denoiser: str, path: Path) -> None:
    image = read_image(source.path)
    if not source.finished:
        image = denoise.load(weak_denoiser)(image) if anchor.kind == "weak" else _blurred(image, anchor.sigma)
    write_grey(path, image)


def _blurred(image: Image, sigma: float) -> Image:
    # In float64 the order of additions, which differs between processors, cannot change a grey level.
    return whole_levels(gaussian_filter(image.astype(np.float64), sigma), image.dtype)
