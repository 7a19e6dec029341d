"""Context: neighbours, or whole series, for submissions that look at more than one slice (`context` of the manifest).

Others are not told which slices belong together: names are opaque, and their order tells nothing. What a case says of
its scan (pixel size, tube current, kernel) may tell patients apart all the same, but no order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from harness.base.errors import UsageError
from harness.dataset.cases import Inputs, NoisySlice
from harness.submission.manifest import Context


class Told(NamedTuple):
    """What the manifest of the inputs says of the order of slices: keys of each case, by its name, and of the whole."""

    cases: Mapping[str, Mapping[str, Any]]
    whole: Mapping[str, Any]


class _Series(NamedTuple):
    """Slices in order, by the names that a container sees, and their positions in mm; None where not all are known."""

    names: list[str]
    position_mm: list[float] | None


def refuse_unordered(context: Context | None, dataset: Inputs, *, protocol: str) -> None:
    """UsageError where a submission asks for neighbours, and nobody knows which slices are."""
    if context is not None and any(case.series is None for case in dataset.cases):
        raise UsageError(
            f"the submission states context: {context}, but the data of protocol {protocol} do not say which slices "
            "belong to one series, nor in what order",
            fix="run it on a phantom or on scans that harness import wrote, or submit a model of single slices",
        )


def context_note(context: Context | None, *, coupled: bool) -> str:
    """What a submission sees beside each slice, and what that means for the error without truth where the protocol has
    it (`coupled`); "" for nothing."""
    if context is None:
        return ""
    seen = "the whole series of" if context == "series" else f"{context} neighbour{'s' * (context > 1)} on each side of"
    doubt = "; its error without truth holds only if the noise of neighbouring slices is independent"
    return f"sees {seen} each slice{doubt if coupled else ''}"


def told(context: Context | None, dataset: Inputs, shown: Mapping[str, NoisySlice]) -> Told:
    """What a container is told of the order of the slices `shown`, by the names that it sees, of which no two show one
    plane: of each its neighbours, or all series. Nothing without `context`."""
    if context is None:
        return Told({}, {})
    series = _series_of(dataset, shown)
    if context != "series":
        return Told({name: one for each in series for name, one in _neighbours(each, context).items()}, {})
    listed = [{"cases": one.names, "position_mm": _from_first(one.position_mm)} for one in series]
    return Told({}, {"series": sorted(listed, key=lambda one: one["cases"])})  # a name's order tells nothing


def _series_of(dataset: Inputs, shown: Mapping[str, NoisySlice]) -> list[_Series]:
    """The series of the slices shown, each by position or, where one is not known, in the order of the data set."""
    named = {one.name: name for name, one in shown.items()}
    case_of = {case.name: case for case in dataset.cases}
    found: dict[str, list[tuple[str, float | None]]] = {}
    for plane, images in dataset.planes().items():
        case = case_of[plane]
        assert case.series is not None, "refuse_unordered"
        names = [named[one.name] for one in images if one.name in named]
        assert len(names) <= 1, "a run shows two images of one plane"
        found.setdefault(case.series, []).extend((name, case.position_mm) for name in names)
    return [_ordered(members) for members in found.values() if members]


def _ordered(members: Sequence[tuple[str, float | None]]) -> _Series:
    known = [(position, name) for name, position in members if position is not None]
    if len(known) < len(members):
        return _Series([name for name, _ in members], None)
    return _Series([name for _, name in sorted(known)], [position for position, _ in sorted(known)])


def _neighbours(series: _Series, count: int) -> dict[str, dict[str, Any]]:
    """Of each slice the files of `count` slices before and after it, and how far they are; null beyond the ends."""
    names, places = series
    found: dict[str, dict[str, Any]] = {}
    for at, name in enumerate(names):
        around = [index if 0 <= index < len(names) else None for index in range(at - count, at + count + 1)]
        del around[count]
        found[name] = {
            "neighbours": [None if index is None else f"{names[index]}.png" for index in around],
            "spacing_mm": [
                None if index is None or places is None else round(abs(places[index] - places[at]), 3)
                for index in around
            ],
        }
    return found


def _from_first(position_mm: list[float] | None) -> list[float] | None:
    """Positions from the first slice on: where the scanner's table stood concerns nobody."""
    return None if position_mm is None else [round(one - position_mm[0], 3) for one in position_mm]
