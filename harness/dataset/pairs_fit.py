"""Whether the two images of a slice fit each other: one patient, one plane, one orientation, one grey scale.

Judged is a coarse map of each image, in which the noise of a low dose and the shift of a breath are small. All sums
are of integers, so that every machine finds the same; the time is linear in the number of slices. The bounds lie
between sound pairs (the phantom's, and real slices through five windows) and the same pairs spoilt:

| | sound | spoilt |
|---|---|---|
| error in another orientation, as a multiple of the own | 1.4 and more, 8 in the median | the reciprocal |
| error with another patient's normal dose, likewise | 2.3 and more, 20 in the median | 1 or less |
| normal dose over low dose in tissue | 0.98 to 1.003 | 0.86 to 0.97, 1.09 and more where one was stretched |
| rim over middle, as a share of the grey levels | 0 at most | 0.3 in the median where both are inverted |
| grain of the low dose over that of the normal dose | 1.1 and more, 3 in the median | the reciprocal |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.base.digests import digest_pixels
from harness.imaging.turns import TURNS

Map = NDArray[np.int64]

CELLS = 32
"""Height and width of a coarse map."""
FINE = 16
"""Steps of a coarse map's grey levels in one of the image's."""
REACH = 3
"""Cells by which a patient may have moved between the scans: a tenth of the field of view."""

ALIKE = 0.95
"""Correlation beyond which two maps show the same; sound pairs have 0.99 in the median."""
UNLIKE = 0.75
"""Below it they do not; sound pairs have 0.88 and more, those of two patients 0.8 in the median."""
OTHERS = 256
"""Normal-dose images of other patients that a pair is compared with, at most, evenly spaced."""
CLIPPED = 0.02
"""Share of white pixels from which on clipped noise darkens the tissue of a noisy image, by a seventh at most."""
SMOOTH = 0.8
"""Grain of the low dose over that of the normal dose, below which the low dose is the less noisy one."""
BRIGHT_RIM = 0.1
"""Share of the grey levels by which a rim is brighter than the middle, from which on both images are inverted."""
FEW = 4
"""White pixels of an image whose own brightest pixel was made white, at most."""


class Look(NamedTuple):
    """What is kept of an image: digest of its pixels, share and number of white ones, its grain (the change of the
    change from pixel to pixel, summed: mostly noise), its coarse map, if any."""

    digest: str
    pixels: int
    white: int
    grain: int
    coarse: Map | None  # None of an image with fewer pixels than a map has


class Misfits(NamedTuple):
    """Why slices do not fit, by name: where no doubt is left, and where somebody should look."""

    certain: dict[str, str]
    likely: dict[str, str]


def look_at(image: NDArray[np.uint8]) -> Look:
    """What `misfits` needs of a uint8 image (height, width)."""
    coarse = None
    if min(image.shape) >= CELLS:
        rows, columns = (np.arange(CELLS) * side // CELLS for side in image.shape)
        sums = np.add.reduceat(np.add.reduceat(image.astype(np.int64), rows, 0), columns, 1)
        heights, widths = (
            np.diff(starts, append=side) for starts, side in zip((rows, columns), image.shape, strict=True)
        )
        coarse = sums * FINE // np.outer(heights, widths)
    grain = int(np.abs(np.diff(np.diff(image.astype(np.int16), axis=0), axis=1)).sum(dtype=np.int64))
    return Look(digest_pixels(image), image.size, int(np.count_nonzero(image == 255)), grain, coarse)


def misfits(looks: Mapping[str, tuple[Look, Look]], patients: Mapping[str, str]) -> Misfits:
    """The slices that do not fit, of (low dose, normal dose) by name; `patients` is the patient of each."""
    certain, likely = _repeated(looks)
    others = _Others(looks, patients)
    stretched = len(looks) > 1 and all(0 < one.white <= FEW for pair in looks.values() for one in pair)
    for name, (low, normal) in looks.items():
        if low.coarse is None or normal.coarse is None or name in certain:
            continue
        sure, reason = _judged(low, normal, others.best(low.coarse, patients[name]))
        if reason:
            (certain if sure else likely)[name] = reason
        elif stretched:
            likely[name] = "its brightest pixel is white, as in all others: each seems to have a grey scale of its own"
    return Misfits(certain, {name: reason for name, reason in likely.items() if name not in certain})


def _repeated(looks: Mapping[str, tuple[Look, Look]]) -> tuple[dict[str, str], dict[str, str]]:
    """Slices that hold an image of another: two noisy images are never equal, of one normal dose there may be several
    low ones."""
    certain: dict[str, str] = {}
    likely: dict[str, str] = {}
    owner: dict[str, str] = {}
    normals: dict[str, str] = {}
    for name, (low, normal) in looks.items():
        first = owner.setdefault(low.digest, name)
        if first != name:
            certain[name] = f"its low-dose image is that of {first}, pixel by pixel, so one slice would count twice"
        first = normals.setdefault(normal.digest, name)
        if first != name:
            likely[name] = f"its normal-dose image is that of {first}, pixel by pixel"
    for name, (low, _) in looks.items():
        if low.digest in normals:
            certain[name] = f"its low-dose image is the normal-dose image of {normals[low.digest]}, pixel by pixel"
    return certain, likely


def _judged(low: Look, normal: Look, other: tuple[float, str]) -> tuple[bool, str]:
    """Whether it is certain that a pair does not fit, and why; an empty reason if it may.

    `other` is how well an image of another patient fits, and the name of its slice.
    """
    assert low.coarse is not None
    assert normal.coarse is not None
    plain = _correlation(low.coarse, normal.coarse)
    if plain < -UNLIKE:
        return True, "one of its images is inverted: bright is dark in the other"
    own = _aligned(low.coarse, normal.coarse)
    turned, how = _turned(low.coarse, normal.coarse, plain)
    if 1 - turned < 0.75 * (1 - own):
        certain = turned > ALIKE and 1 - turned < (1 - own) / 3
        return certain, f"one of its images is {how} against the other"
    fits, name = other
    if own < ALIKE and 1 - fits < 0.9 * (1 - own):
        return False, f"the normal-dose image of {name}, another patient's, fits its low-dose image better than its own"
    if own < UNLIKE:
        return False, "its two images show little of the same"
    gain = _gain(low.coarse, normal.coarse)
    clipped = max(low.white, normal.white) >= CLIPPED * low.pixels
    if abs(gain - 1) > (0.3 if clipped else 0.05):
        certain = own > ALIKE and abs(gain - 1) > (0.5 if clipped else 0.2)
        return certain, f"tissue is {gain:.2f} times as bright at normal dose: its images are on two grey scales"
    if min(_rim(low.coarse), _rim(normal.coarse)) > BRIGHT_RIM:
        return False, "both of its images seem to be inverted: what surrounds the patient is bright, while air is dark"
    if low.grain < SMOOTH * normal.grain:
        return False, "its low-dose image is less noisy than its normal-dose image: the two may be swapped"
    return False, ""


class _Others:
    """The normal-dose images of other patients, to compare each low-dose image with."""

    def __init__(self, looks: Mapping[str, tuple[Look, Look]], patients: Mapping[str, str]) -> None:
        mapped = {name: normal.coarse.ravel() for name, (_, normal) in looks.items() if normal.coarse is not None}
        chosen = list(mapped)[:: -(-len(mapped) // OTHERS) or 1]
        self.names = chosen if len(set(patients.values())) > 1 else []
        self.patients = np.array([patients[name] for name in self.names])
        self.maps = np.array([mapped[name] for name in self.names])

    def best(self, low: Map, patient: str) -> tuple[float, str]:
        """How well the best of them fits, and the name of its slice; (-1, "") where there is none."""
        strange = np.flatnonzero(self.patients != patient)
        if not len(strange):
            return -1.0, ""
        fits = [_correlation(low.ravel(), self.maps[index]) for index in strange]
        best = int(np.argmax(fits))
        return fits[best], self.names[strange[best]]


def _correlation(one: Map, other: Map) -> float:
    """The correlation of two maps; 0 where one is constant."""
    count = one.size
    sums = int(one.sum()), int(other.sum())
    spread = [count * int((a * a).sum()) - total**2 for a, total in zip((one, other), sums, strict=True)]
    if not all(spread):
        return 0.0
    together: float = (count * int((one * other).sum()) - sums[0] * sums[1]) / (spread[0] ** 0.5 * spread[1] ** 0.5)
    return together


def _aligned(one: Map, other: Map) -> float:
    """The best correlation of two maps that may be shifted against each other."""

    def shifted(down: int, right: int) -> float:
        first = one[max(0, down) : CELLS + min(0, down), max(0, right) : CELLS + min(0, right)]
        second = other[max(0, -down) : CELLS + min(0, -down), max(0, -right) : CELLS + min(0, -right)]
        return _correlation(first, second)

    steps = range(-REACH, REACH + 1)
    return max(shifted(down, right) for down in steps for right in steps)


def _turned(low: Map, normal: Map, plain: float) -> tuple[float, str]:
    """How well the maps fit in the best other orientation, and which one that is; (-1, "") if none fits better."""
    found = {how: _correlation(low, turn(normal)) for how, turn in TURNS.items()}
    how = max(found, key=lambda one: found[one])
    return (_aligned(low, TURNS[how](normal)), how) if found[how] > plain else (-1.0, "")


def _rim(image: Map) -> float:
    """By how much the rim, where there is room beside the patient, is brighter than the middle, as a share of the
    image's grey levels: of three corners at least, since one may hold a mark, and of two sides, since padding fills
    all four corners."""
    last, half = CELLS - 3, CELLS // 2 - 1
    corners, sides = (
        sorted(int(image[down : down + 3, right : right + 3].sum()) / 9 for down, right in places)
        for places in (((0, 0), (0, last), (last, 0), (last, last)), ((0, half), (last, half), (half, 0), (half, last)))
    )
    middle = np.sort(image[CELLS // 4 : -CELLS // 4, CELLS // 4 : -CELLS // 4], axis=None)
    spread = int(image.max()) - int(image.min())
    return float(min(corners[1], sides[2]) - middle[middle.size // 2]) / spread if spread else 0.0


def _gain(low: Map, normal: Map) -> float:
    """The median of normal dose over low dose in the cells that are tissue in both; 1 if there are none."""
    tissue = np.ones(low.shape, bool)
    for one in (low, normal):
        ordered = np.sort(one, axis=None)
        tissue &= 2 * one > ordered[one.size // 20] + ordered[-(one.size // 20)]
    if not tissue.any():
        return 1.0
    return float(np.sort(normal[tissue] * 1000 // low[tissue])[np.count_nonzero(tissue) // 2]) / 1000
