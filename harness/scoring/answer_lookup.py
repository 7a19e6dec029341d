"""Answer lookup: outputs that are an answer rather than an estimate of it, which no denoiser makes of a noisy slice.

`benchmarks/answer_lookup.py` measures how many pixels honest denoisers share with label and truth (docs/cheating.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.base.slices import read_grey
from harness.dataset.cases import Case
from harness.imaging.regions import Code

LOOKED_UP_SHARE = 0.75
"""Share of the body's pixels that equal the answer from which on an output counts as looked up.

It lies well above every honest image: denoisers, another normal-dose scan, and even the weak denoiser against the label
that it helped to make (docs/cheating.md has the shares)."""

INSIDE = [Code.BODY, Code.LUNG, Code.GAS, Code.NODULE]  # air and table have one grey level in many images


class LookedUp(NamedTuple):
    """What looks like a looked-up answer (`flags`), and what is only worth knowing (`notes`), in plain words."""

    flags: tuple[str, ...]
    notes: tuple[str, ...]


def find_looked_up(
    cases: Sequence[Case],
    produced: Sequence[Path],
    references: Mapping[str, Sequence[Path]],
    region_maps: Sequence[Path],
) -> LookedUp:
    """Compare every output with the answers for its slice (reference name -> files) and with the noisy input.

    All files are 8-bit grey PNGs in the order of `cases`. An answer that the input itself shows is no secret: slices
    whose input matches it too well do not count.
    """
    identical, near = dict.fromkeys(references, 0), dict.fromkeys(references, 0)
    unchanged = 0
    for index, case in enumerate(cases):
        output, noisy = read_grey(produced[index]), read_grey(Path(case.lq))
        inside = np.isin(read_grey(region_maps[index]), INSIDE)
        unchanged += bool((output == noisy).all())
        for name, paths in references.items():
            answer = read_grey(paths[index])
            if equal_share(noisy, answer, inside) >= LOOKED_UP_SHARE:
                continue
            if (output == answer).all():
                identical[name] += 1
            elif equal_share(output, answer, inside) >= LOOKED_UP_SHARE:
                near[name] += 1
    of_all = f"of {len(cases)} outputs"
    flags = [f"{count} {of_all} are bit-equal to the {name}" for name, count in identical.items() if count]
    flags += [
        f"{count} {of_all} equal the {name} in {LOOKED_UP_SHARE:.0%} or more of the body's pixels"
        for name, count in near.items()
        if count
    ]
    notes = [f"{unchanged} {of_all} are bit-equal to the noisy input"] if unchanged else []
    return LookedUp(tuple(flags), tuple(notes))


def equal_share(image: NDArray[np.uint8], answer: NDArray[np.uint8], inside: NDArray[np.bool_]) -> float:
    """Share of the pixels of bool `inside` in which two uint8 images of its shape agree; 0 where `inside` is empty."""
    pixels = int(np.count_nonzero(inside))
    return int(np.count_nonzero((image == answer) & inside)) / pixels if pixels else 0.0
