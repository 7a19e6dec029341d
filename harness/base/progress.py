"""Progress: how long work says how far it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol as Interface


def part_of(progress: Callable[[int, int], None] | None, index: int, parts: int) -> Callable[[int, int], None] | None:
    """The progress of part `index` of `parts` equal ones, as progress of the whole."""
    if progress is None:
        return None
    return lambda done, total: progress(index * total + done, parts * total)


Progress = Callable[[int, int], None]


class Reporter(Interface):
    """Shows long work: `stage` opens one named stage and yields the callable that takes (done, total); `note` is a
    line that the user should read."""

    def stage(self, name: str) -> AbstractContextManager[Progress]: ...

    def note(self, text: str) -> None: ...
