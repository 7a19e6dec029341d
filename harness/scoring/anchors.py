"""Anchors: reference rows of a board, made by the harness itself, without a container.

They put a number into context: the noisy input, blurring alone, the weak denoiser that made the labels (and profits
from it), and on the phantom the truth and another normal-dose scan, the best that a denoiser can reach. They are shown
and never ranked.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from harness.base.slices import read_grey, write_grey
from harness.base.structs import Strict
from harness.base.workers import map_slices
from harness.dataset.cases import Case, Dataset
from harness.imaging import denoise
from harness.protocol import Purify
from harness.submission.manifest import ANCHOR_PREFIX

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
    found = [Anchor(slug=f"{ANCHOR_PREFIX}input", name="Noisy input", kind="lq")]
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
    """Write an anchor's images to `folder` and return them like a submission's outputs: case name -> 8-bit grey PNG.

    `weak_outputs` are the outputs of the submission that serves as weak denoiser, if one does.
    """
    outputs = {case.name: folder / f"{case.name}.png" for case in dataset.cases}
    map_slices(
        _make,
        [
            (anchor, case, purify.weak_denoiser, weak_outputs and weak_outputs[case.name], outputs[case.name])
            for case in dataset.cases
        ],
    )
    return outputs


def _make(anchor: Anchor, case: Case, weak_denoiser: str, weak_output: Path | None, path: Path) -> None:
    write_grey(path, _image(anchor, case, weak_denoiser, weak_output))


def _image(anchor: Anchor, case: Case, weak_denoiser: str, weak_output: Path | None) -> NDArray[np.uint8]:
    low = read_grey(Path(case.lq))
    match anchor.kind:
        case "blur":
            # In float64 the order of additions, which differs between processors, cannot change a grey level.
            blurred: NDArray[np.uint8] = np.rint(gaussian_filter(low.astype(np.float64), anchor.sigma)).astype(np.uint8)
            return blurred
        case "weak":
            return denoise.load(weak_denoiser)(low) if weak_output is None else read_grey(weak_output)
        case "again":  # part of the row's digest, and so of its records
            return read_grey(Path(str(case.aligned_gt)))
        case kind:
            return read_grey(Path(getattr(case, kind)))
