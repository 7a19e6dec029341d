"""Pairing: the planes of a series in the order of their places, and which low-dose plane goes with which normal one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import UsageError
from harness.base.png import Rejected
from harness.base.text import counted
from harness.importing.find import natural
from harness.importing.hounsfield import AIR_HU, block_means
from harness.importing.planes import Left, Pixels, Plane, Stated

SAME_MM = 0.05
"""Distance of two planes within which they are one: headers round to 0.01 mm, the thinnest slices are 0.2 mm apart."""
GAP = 1.5
"""Of the usual distance between planes: beyond it one is missing."""

MOVED_HU, MOVED, STILL = 150.0, 0.005, 0.0005
"""A block has moved where its means differ by so much; shares of such blocks from which on the
scans are two breaths, and up to which they are one. Between them the user must say."""


class Series(NamedTuple):
    """Planes in the order of their places, what was left out of them, and what is odd about them."""

    planes: list[Plane]
    left: list[Left]
    notes: list[str]


class Matched(NamedTuple):
    """Low-dose and normal-dose planes of one patient, whether a pair has one place, what was left out, and why."""

    pairs: list[tuple[Plane, Plane]]
    one_place: bool
    left: list[Left]
    notes: list[str]


def arrange(planes: Sequence[Plane]) -> Series:
    """The planes of a series from the feet to the head; those of unknown place by the numbers in their files' names.

    Of several planes at one place one is kept if their pixels are equal, and none if they differ.
    """
    if any(plane.place is None for plane in planes):
        by_name = sorted(planes, key=lambda one: (natural(one.file.as_posix()), one.frame))
        return Series(by_name, [], _notes(by_name))
    kept: list[Plane] = []
    left: list[Left] = []
    ordered = sorted(planes, key=lambda one: (_mm(one), natural(one.file.as_posix()), one.frame))
    starts = np.cumsum([0, *(np.diff([_mm(one) for one in ordered]) > SAME_MM)])
    for _, pairs in groupby(zip(starts, ordered, strict=True), key=lambda pair: pair[0]):
        one, others = _one_of([plane for _, plane in pairs])
        kept += one
        left += others
    return Series(kept, left, [*_gaps(kept), *_notes(kept)])


def _notes(planes: Sequence[Plane]) -> list[str]:
    return sorted({note for one in planes for note in one.notes})


def _mm(plane: Plane) -> float:
    assert plane.place is not None
    return plane.place.position_mm


def _one_of(group: Sequence[Plane]) -> tuple[list[Plane], list[Left]]:
    """The plane to keep of those at one place, if any, and what is left of the others."""
    if len(group) == 1:
        return list(group), []
    read: list[tuple[Plane, NDArray[np.float64]]] = []
    left: list[Left] = []
    for plane in group:
        try:
            read.append((plane, plane.read().hu))
        except Rejected as error:
            left.append(Left(plane.where, str(error)))
    if any(not np.array_equal(read[0][1], hu) for _, hu in read):
        return [], left + [Left(one.where, "is one of several different planes at one place") for one, _ in read]
    left += [Left(one.where, "repeats another plane, pixel by pixel") for one, _ in read[1:]]
    return [one for one, _ in read[:1]], left


def _gaps(planes: Sequence[Plane]) -> list[str]:
    """What is missing between planes: said, never filled in."""
    if len(planes) < 3:
        return []
    steps = np.diff([_mm(one) for one in planes])
    usual = float(np.median(steps))
    wide = steps[steps > GAP * usual]
    missing = int(np.rint(wide / usual - 1).sum())
    return [f"{counted(missing, 'plane')} missing between others ({usual:.4g} mm apart)"] if missing else []


def match(low: Sequence[Plane], normal: Sequence[Plane], stated: Stated) -> Matched:
    """The pairs of a patient: planes of one place where both series lie on one grid, else the k-th of each.

    Rejected where no pair can be had: other pixel sizes, thicknesses or numbers of pixels. UsageError where planes have
    no place and the user does not say whether they are paired.
    """
    _refuse_unlike(low, normal)
    if low[0].place is None or normal[0].place is None:
        return _by_order(low, normal, stated)
    places = np.array([_mm(one) for one in normal])
    nearest = [int(np.abs(places - _mm(one)).argmin()) for one in low]
    on_grid = [abs(places[at] - _mm(one)) <= SAME_MM for at, one in zip(nearest, low, strict=True)]
    if sum(on_grid) * 2 > min(len(low), len(normal)) and _one_centre(low[0], normal[0]) and stated.paired is not False:
        pairs = [(one, normal[at]) for one, at, fits in zip(low, nearest, on_grid, strict=True) if fits]
        taken = {plane.where for pair in pairs for plane in pair}
        alone = [one for one in (*low, *normal) if one.where not in taken]
        return Matched(pairs, True, [Left(one.where, "has no partner at its place") for one in alone], [])
    if stated.paired:
        raise Rejected("has no common planes of low and normal dose, so they cannot be --paired")
    stated_so = stated.paired is False
    return _kth(low, normal, "unpaired, as stated" if stated_so else "unpaired: the two doses have other planes")


def _by_order(low: Sequence[Plane], normal: Sequence[Plane], stated: Stated) -> Matched:
    if stated.paired is None:
        raise UsageError(
            f"{low[0].file}: states no place, so whether low and normal dose show the same planes is unknown",
            fix="give --paired (the k-th of both is one plane) or --unpaired (another breath)",
        )
    if stated.paired and len(low) != len(normal):
        raise Rejected(f"has {len(low)} planes of low and {len(normal)} of normal dose, so they cannot be --paired")
    if stated.paired and not _numbered_alike(low, normal):
        raise Rejected(
            "has files whose numbers do not go on alike in low and normal dose, so the k-th of both are not one plane: "
            "is one missing, or was refused?"
        )
    matched = _kth(low, normal, "unpaired, as stated")
    return matched._replace(one_place=True, notes=["paired by order, as stated"]) if stated.paired else matched


def _numbered_alike(low: Sequence[Plane], normal: Sequence[Plane]) -> bool:
    """Whether the numbers in the files' names grow alike from plane to plane: else a plane is missing on either side,
    and all between are out of step. Names that are not of one pattern tell nothing."""
    steps = []
    for planes in (low, normal):
        rows = [[*(int(one) for one in re.findall(r"\d+", plane.file.name)), plane.frame] for plane in planes]
        if len({len(row) for row in rows}) > 1:
            return True
        columns = [[value - column[0] for value in column] for column in zip(*rows, strict=True)]
        steps.append([column for column in columns if any(column)])
    return steps[0] == steps[1]


def _kth(low: Sequence[Plane], normal: Sequence[Plane], note: str) -> Matched:
    count = min(len(low), len(normal))
    surplus = [*low[count:], *normal[count:]]
    left = [Left(one.where, "has no partner: the other dose has fewer planes") for one in surplus]
    return Matched(list(zip(low, normal, strict=False)), False, left, [note])


def _one_centre(low: Plane, normal: Plane) -> bool:
    assert low.place is not None
    assert normal.place is not None
    apart = np.subtract(low.place.centre_mm, normal.place.centre_mm)
    return float(np.abs(apart).max()) <= low.pixel_mm / 4


def _refuse_unlike(low: Sequence[Plane], normal: Sequence[Plane]) -> None:
    for planes in (low, normal):
        if len({one.kernel for one in planes}) > 1:
            raise Rejected("has planes of several kernels in one series")
    both = [*low, *normal]
    sizes = sorted({one.standing for one in both})
    if len(sizes) > 1:
        raise Rejected("has planes of " + " and ".join(f"{rows} x {columns}" for rows, columns in sizes) + " pixels")
    for what, found in (
        ("pixels", {round(one.pixel_mm, 4) for one in both}),
        ("slices", {round(one.thickness_mm, 2) for one in both if one.thickness_mm is not None}),
    ):
        if max(found, default=0.0) - min(found, default=0.0) > 2e-3 * max(found, default=0.0):
            raise Rejected(f"has {what} of " + " and ".join(f"{one:g} mm" for one in sorted(found)))


class Breath:
    """Whether pairs of one place show the same anatomy, or a patient who breathed in between."""

    def __init__(self) -> None:
        self.moved = self.blocks = 0

    def add(self, low: Pixels, normal: Pixels) -> None:
        """One more pair."""
        # where noise was cut off at -1024 HU, air reads higher than it is: all air counts as AIR_HU's upper end
        means = [np.maximum(block_means(one, count=32), AIR_HU[1]) for one in (low, normal)]
        apart = np.abs(means[0] - means[1])
        self.moved += int((apart > MOVED_HU).sum())
        self.blocks += int((~np.isnan(apart)).sum())

    def one(self) -> bool | None:
        """True for one breath, False for two, None where it cannot be told."""
        share = self.moved / max(1, self.blocks)
        return True if share <= STILL else False if share >= MOVED else None
