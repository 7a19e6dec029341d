"""Slices that are made once and kept: the images of each as files, and a note about them.

What is there and undamaged is not made again: a killed run carries on where it stopped, and only the damaged slices of
a set are rebuilt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from harness.base.digests import digest_file
from harness.base.errors import UsageError
from harness.base.png import Image
from harness.base.progress import Progress, later_part
from harness.base.slices import write_grey
from harness.base.structs import Strict, read_json, write_json
from harness.base.workers import map_slices

Facts = TypeVar("Facts")


class Note(Strict, Generic[Facts], frozen=True, kw_only=True):
    """What is known of a kept slice, and the SHA-256 of each of its files (paths relative to the set's folder)."""

    facts: Facts
    files: dict[str, str]


class Refused(Strict, frozen=True, kw_only=True):
    """Why a slice cannot be made."""

    reason: str


def keep_slice(folder: Path, name: str, images: Mapping[str, Image], facts: Facts) -> Facts:
    """Write the images of the slice `name` (kind -> uint8 or uint16, height x width) as `<kind>/<name>.png`, then the
    note of them with `facts`, a record, which is returned."""
    for kind, image in images.items():
        write_grey(folder / slice_path(kind, name), image)
    return note_slice(folder, name, [slice_path(kind, name) for kind in images], facts)


def note_slice(folder: Path, name: str, paths: Iterable[str], facts: Facts) -> Facts:
    """Write the note of the slice `name`, whose files lie at `paths` in the set's folder, with `facts`."""
    write_json(_note_path(folder, name), Note(facts=facts, files={path: digest_file(folder / path) for path in paths}))
    return facts


def make_slices(
    folder: Path,
    tasks: Mapping[str, tuple[Any, ...]],
    make: Callable[..., Facts | Refused],
    kind: type[Facts],
    *,
    progress: Progress | None,
) -> tuple[dict[str, Facts], dict[str, str]]:
    """The facts of every slice, by name in the order of `tasks`, and the reasons of those that `make` refused.

    Slices that `folder` does not hold, or holds damaged, are made on all cores by `make(*task, folder)`, which ends in
    `keep_slice` with facts of the type `kind`. `progress` counts slices, those already there as done.
    """
    there = {name: facts for name in tasks if (facts := find_slice(folder, name, kind)) is not None}
    missing = [name for name in tasks if name not in there]
    total, before = len(tasks), len(there)
    results = map_slices(
        make,
        [(*tasks[name], str(folder)) for name in missing],
        progress=later_part(progress, before, total),
    )
    refused: dict[str, str] = {}
    for name, result in zip(missing, results, strict=True):
        if isinstance(result, Refused):
            refused[name] = result.reason
        else:
            there[name] = result
    return {name: there[name] for name in tasks if name in there}, refused


def find_slice(folder: Path, name: str, kind: type[Facts]) -> Facts | None:
    """What is known of the kept slice `name`; None if it is missing, or its files are not as its note says."""
    try:
        note = _read_note(folder, name, kind)
        if all(digest_file(folder / path) == digest for path, digest in note.files.items()):
            return note.facts
    except (UsageError, OSError):
        pass  # missing or unreadable
    return None


def slice_path(kind: str, name: str) -> str:
    """Where a set's folder keeps an image of the slice `name`."""
    return f"{kind}/{name}.png"


def notes_folder(folder: Path) -> Path:
    """Where a set's folder keeps the notes of its slices."""
    return folder / "slices"


def read_facts(folder: Path, name: str, kind: type[Facts]) -> Facts:
    """What is known of the kept slice `name`. UsageError where its note is missing or damaged."""
    return _read_note(folder, name, kind).facts


def _read_note(folder: Path, name: str, kind: type[Facts]) -> Note[Facts]:
    return read_json(_note_path(folder, name), Note[kind])  # type: ignore[valid-type]


def _note_path(folder: Path, name: str) -> Path:
    return notes_folder(folder) / f"{name}.json"
