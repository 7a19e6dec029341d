"""Answer lookup: outputs that are an answer rather than an estimate of it, which no denoiser makes of a noisy slice.

`benchmarks/answer_lookup.py` measures how many pixels honest denoisers share with label and truth, and how near they
come to them (docs/cheating.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.base.slices import read_grey, read_image
from harness.base.workers import map_slices
from harness.dataset.cases import Case
from harness.imaging.hounsfield import Image
from harness.imaging.regions import Code, shrink
from harness.scoring.answer_nearness import is_near_label, nearer_than_scan

LOOKED_UP_SHARE = 0.75
"""Share of the body's pixels that equal the answer from which on an output counts as looked up.

It lies well above every honest image: denoisers, another normal-dose scan, and even the weak denoiser against the label
that it helped to make (docs/cheating.md has the shares)."""

INSIDE = [Code.BODY, Code.LUNG, Code.GAS, Code.NODULE]  # air and table have one grey level in many images


class LookedUp(NamedTuple):
    """What looks like a looked-up answer (`flags`), and what is only worth knowing (`notes`), in plain words."""

    flags: tuple[str, ...]
    notes: tuple[str, ...]


class _Found(NamedTuple):
    """What one output has of the answers: references that it is bit-equal to, equals in most pixels, and is too near
    to, with the regions in which it is."""

    unchanged: bool
    identical: set[str]
    alike: set[str]
    near: dict[str, list[str]]


def find_looked_up(
    cases: Sequence[Case],
    produced: Sequence[Path],
    references: Mapping[str, Sequence[Path]],
    region_maps: Sequence[Path],
) -> LookedUp:
    """Compare every output with the answers for its slice (reference name -> files) and with the noisy input.

    All files are grey PNGs in the order of `cases`. An answer that the input itself shows is no secret: slices
    whose input matches it too well do not count.
    """
    tasks = [
        (case, produced[index], {name: paths[index] for name, paths in references.items()}, region_maps[index])
        for index, case in enumerate(cases)
    ]
    found = map_slices(_compare, tasks)
    of_all = f"of {len(cases)} outputs"
    flags = []
    for kind, says in (
        ("identical", "are bit-equal to the {}"),
        ("alike", f"equal the {{}} in {LOOKED_UP_SHARE:.0%} or more of the body's pixels"),
        ("near", "are nearer to the {} than any estimate of it can be"),
    ):
        for name in references:
            if count := sum(name in getattr(one, kind) for one in found):
                flags.append(f"{count} {of_all} {says.format(name)}{_where(name, found) if kind == 'near' else ''}")
    unchanged = sum(one.unchanged for one in found)
    notes = [f"{unchanged} {of_all} are bit-equal to the noisy input"] if unchanged else []
    return LookedUp(tuple(flags), tuple(notes))


def _where(name: str, found: Sequence[_Found]) -> str:
    regions = sorted({region for one in found for region in one.near.get(name, ())})
    return f" ({', '.join(regions)}; docs/cheating.md)"


def _compare(case: Case, produced: Path, references: Mapping[str, Path], region_map: Path) -> _Found:
    output, noisy, codes = read_image(produced), read_image(Path(case.lq)), read_grey(region_map)
    inside, masks = np.isin(codes, INSIDE), shrink(codes)
    found = _Found(bool((output == noisy).all()), set(), set(), {})
    for name, path in references.items():
        answer = read_image(path)
        if equal_share(noisy, answer, inside) >= LOOKED_UP_SHARE:
            continue
        if (output == answer).all():
            found.identical.add(name)
        elif equal_share(output, answer, inside) >= LOOKED_UP_SHARE:
            found.alike.add(name)
        elif name == "label" and is_near_label(output, answer, noisy=noisy, body=masks["body"]):
            found.near[name] = ["body"]
        elif name == "truth" and case.aligned_gt is not None:
            scan = read_image(Path(case.aligned_gt))
            if regions := nearer_than_scan(output, answer, scan=scan, noisy=noisy, masks=masks):
                found.near[name] = regions
    return found


def equal_share(image: Image, answer: Image, inside: NDArray[np.bool_]) -> float:
    """Share of the pixels of bool `inside` in which two images of its shape agree; 0 where `inside` is empty."""
    pixels = int(np.count_nonzero(inside))
    return int(np.count_nonzero((image == answer) & inside)) / pixels if pixels else 0.0
