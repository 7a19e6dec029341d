"""Progress: how long work says how far it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol as Interface

Progress = Callable[[int, int], None]
"""Hears how far long work is: (done, total) of whatever it counts."""


def part_of(progress: Progress | None, index: int, parts: int) -> Progress | None:
    """The progress of part `index` of `parts` equal ones, as progress of the whole."""
    if progress is None:
        return None
    return lambda done, total: progress(index * total + done, parts * total)


class Reporter(Interface):
    """Shows long work: `stage` opens one named stage and yields the callable that takes (done, total); `note` is a
    line that the user should read."""

    def stage(self, name: str) -> AbstractContextManager[Progress]: ...

    def note(self, text: str) -> None: ...
