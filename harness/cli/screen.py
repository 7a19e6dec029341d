"""The one printer of the command line: text from strangers cannot move the cursor, hide, or command a CI runner."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from harness.base.text import sanitise


class Screen(Console):
    """rich's console, which cleans whatever it is given and takes no text for markup: style is a `rich.text.Text`."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The pieces of text that go to the terminal; codes of rich's own are not text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=sanitise(segment.text))
