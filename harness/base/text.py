"""Text for terminals, logs and messages: makes strangers' text safe to print, and cuts long lists short."""

from __future__ import annotations

import re
from collections.abc import Sequence


def first_few(items: Sequence[str], *, at_most: int = 8) -> list[str]:
    """The first `at_most` items, and "and 3 more" in place of the others; for the caller to join."""
    others = len(items) - at_most
    return [*items[:at_most], f"and {others} more"] if others > 0 else list(items)


def counted(count: int, noun: str) -> str:
    """A number and its noun: "1 file", "2 files"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def shortened(text: str, at_most: int) -> str:
    """`text`, cut to `at_most` characters if it is longer, the last three then being dots."""
    return text if len(text) <= at_most else text[: at_most - 3] + "..."


def sanitise(text: str) -> str:
    """Make a container's text safe to print: no ANSI sequences, control characters or CI workflow commands."""
    text = re.sub(r"\x1b(\[[0-?]*[ -/]*[@-~]|[\]PX^_].*?(\x07|\x1b\\|$)|[ -/]*[0-~])", "", text, flags=re.MULTILINE)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    # control characters, and those that change the writing direction
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", "", text)
    # GitHub's runner obeys ##[ anywhere in a line, and :: after any blanks
    text = re.sub(r"#{2,}\[+", "", text)
    return re.sub(r"^([^\S\n]*)(?:::[^\S\n]*)+", r"\1", text, flags=re.MULTILINE)
