"""Progress of long work: a bar on a terminal, elsewhere one plain line per stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from harness.base.progress import Progress
from harness.cli._common import is_quiet
from harness.cli.screen import Screen

PLAIN_EVERY_S = 20.0  # seconds between progress lines where there is no terminal, at least


class TerminalReporter:
    """The reporter of the command line; writes to standard error, so that standard output stays data."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Screen(stderr=True)

    def note(self, text: str) -> None:
        """A line that the user should read."""
        self.console.print(text, style="yellow", highlight=False, soft_wrap=True)

    def step(self, text: str) -> None:
        """A line of progress: not shown with -q."""
        if not is_quiet():
            self.console.print(text, highlight=False, soft_wrap=True)

    @contextmanager
    def stage(self, name: str) -> Iterator[Progress]:
        """Show one stage until the block ends, unless -q is given; yields the callable that takes (done, total)."""
        if is_quiet():
            yield lambda _done, _total: None
            return
        started = time.monotonic()
        outcome = "stopped after"
        try:
            with self._bar(name) if self.console.is_terminal else self._lines(name) as progress:
                yield progress
            outcome = "done in"
        finally:
            self.console.print(f"{name:<12} {outcome} {time.monotonic() - started:.1f} s", highlight=False)

    @contextmanager
    def _bar(self, name: str) -> Iterator[Progress]:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn(f"{name:<12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bar(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(name, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    @contextmanager
    def _lines(self, name: str) -> Iterator[Progress]:
        last = time.monotonic()

        def progress(done: int, total: int) -> None:
            nonlocal last
            if done < total and time.monotonic() - last > PLAIN_EVERY_S:
                last = time.monotonic()
                self.console.print(f"{name:<12} {done}/{total}", highlight=False)

        yield progress
