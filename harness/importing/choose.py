"""Choose: the low-dose and the normal-dose series of each patient, by what files and folders say or the user does."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

from harness.base.errors import UsageError
from harness.base.text import counted, first_few
from harness.importing.planes import Left, Plane, Stated
from harness.importing.report import counts

Dose = Literal["low", "normal"]

LAYOUTS: dict[Dose, tuple[str, ...]] = {
    "low": ("quarter_[0-9]mm*", "*low dose images*", "ldct", "lq"),
    "normal": ("full_[0-9]mm*", "*full dose images*", "ndct", "gt"),
}
"""How the layouts that people have name the two doses: Mayo 2016, TCIA's LDCT-and-Projection-data, RED-CNN's and its
followers', the authors'."""
CHOOSE = "say which with --low PATTERN and --normal PATTERN: of a series' folder or file, its number or its description"


class Patient(NamedTuple):
    """The planes of a patient's two series, in no order yet, and the identity that is the owner's alone."""

    identity: str
    low: tuple[Plane, ...]
    normal: tuple[Plane, ...]


def choose(planes: Sequence[Plane], stated: Stated) -> tuple[list[Patient], list[Left]]:
    """The patients of the planes that were found, each with one series of either dose, in the order of identities.

    UsageError where the patient is unknown, no series has a dose, or several have the same.
    """
    left: list[Left] = []
    series: dict[tuple[str, Dose], dict[str, list[Plane]]] = defaultdict(lambda: defaultdict(list))
    unknown: list[str] = []
    for plane in planes:
        dose = _dose(plane, stated)
        if dose is None:
            left.append(Left(plane.where, "is of a series that is neither the low nor the normal dose"))
        elif plane.derived and not _named(plane, stated.low + stated.normal):
            left.append(
                Left(plane.where, "is calculated from others (ImageType DERIVED): name it with --low, --normal")
            )
        elif not (identity := _identity(plane, stated.patient)):
            unknown.append(str(plane.file))
        else:
            series[identity, dose][f"{plane.series} {plane.number}"].append(plane)
    if unknown:
        raise UsageError(
            "\n  ".join(["whose scans these are is unknown:", *first_few(list(dict.fromkeys(unknown)))]),
            fix="give --patient REGEX, whose first group is the patient in a file's path, such as '(L[0-9]+)/'",
        )
    for (_, dose), found in sorted(series.items()):
        if len(found) > 1:
            raise UsageError(f"a patient has {len(found)} series of {dose} dose:{_several(found)}", fix=CHOOSE)
    patients = []
    for identity in sorted({one for one, _ in series}):
        low, normal = (next(iter(series[identity, dose].values()), []) for dose in ("low", "normal"))
        if low and normal:
            patients.append(Patient(identity, tuple(low), tuple(normal)))
            continue
        has, lacks = ("low", "normal") if low else ("normal", "low")
        left += [Left(one.where, f"is {has} dose of a patient without {lacks} dose") for one in (*low, *normal)]
    if not patients:
        said = f"no patient has a low-dose and a normal-dose series; found:{_several(_folders(planes))}"
        raise UsageError(
            "\n  ".join([said, *(f"{counted(count, 'plane')}: {cause}" for cause, count in counts(left).items())]),
            fix=f"{CHOOSE}; where a patient's two scans have two IDs, give --patient",
        )
    return patients, left


def _dose(plane: Plane, stated: Stated) -> Dose | None:
    """The dose of a plane's series; UsageError where it may be both."""
    given: dict[Dose, tuple[str, ...]] = {"low": stated.low, "normal": stated.normal}
    if bool(stated.low) != bool(stated.normal):
        raise UsageError("--low and --normal belong together", fix=CHOOSE)
    found: list[Dose] = [dose for dose in ("low", "normal") if _named(plane, given[dose] or LAYOUTS[dose])]
    if len(found) > 1:
        raise UsageError(f"{plane.file}: may be the low dose and the normal dose by its names", fix=CHOOSE)
    return found[0] if found else None


def _named(plane: Plane, patterns: Sequence[str]) -> bool:
    """Whether a pattern fits a plane's path, a folder or file in it, its series' number or description."""
    names = {str(plane.file), *plane.file.parts, plane.file.name.split(".")[0], plane.number, plane.description}
    return any(fnmatchcase(name.lower(), pattern.lower()) for name in names for pattern in patterns)


def _identity(plane: Plane, pattern: str | None) -> str:
    """The patient by the user's pattern, else by the file; empty where neither tells."""
    if pattern is None:
        return plane.patient
    try:
        found = re.search(pattern, plane.file.as_posix())
        return (found[1] or "") if found else ""
    except (re.error, IndexError, RecursionError, OverflowError) as error:
        raise UsageError(
            f"--patient '{pattern}': is no regular expression with a group (...) for the patient: {error}",
            fix="put parentheses around the part of a file's path that is the patient",
        ) from None


def _folders(planes: Sequence[Plane]) -> dict[str, list[Plane]]:
    found: dict[str, list[Plane]] = defaultdict(list)
    for plane in planes:
        found[f"{plane.series} {plane.number}"].append(plane)
    return found


def _several(series: dict[str, list[Plane]]) -> str:
    """Series by their first file, for a message; nothing that a header says of a person."""
    lines = [
        f"{planes[0].file if planes[0].kind != 'dicom' else planes[0].file.parent}"
        + (f", series {planes[0].number}" if planes[0].number else "")
        + f" ({counted(len(planes), 'plane')})"
        for planes in series.values()
    ]
    return "\n  ".join(["", *first_few(lines)])
