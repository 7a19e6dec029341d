"""Progress: how long-running work reports how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol as Interface

Progress = Callable[[int, int], None]
"""Receives (done, total) of whatever the work counts."""


def part_of(progress: Progress | None, index: int, parts: int) -> Progress | None:
    """The progress of part `index` of `parts` equal ones, as progress of the whole."""
    if progress is None:
        return None
    return lambda done, total: progress(index * total + done, parts * total)


def later_part(progress: Progress | None, before: int, total: int) -> Progress | None:
    """The progress of work before which `before` of `total` were done, as progress of the whole."""
    if progress is None:
        return None
    return lambda done, _: progress(before + done, total)


class Reporter(Interface):
    """Shows long-running work: `stage` opens a named stage and yields its `Progress`; `step` shows a line of what it
    does; `note` shows a line that the user should read."""

    def stage(self, name: str) -> AbstractContextManager[Progress]: ...

    def step(self, text: str) -> None: ...

    def note(self, text: str) -> None: ...


class Quiet:
    """A `Reporter` that shows nothing, and keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[Progress]:
        del name
        yield lambda _done, _total: None

    def step(self, text: str) -> None:
        del text

    def note(self, text: str) -> None:
        self.notes.append(text)
