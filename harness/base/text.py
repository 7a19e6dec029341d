"""Text for terminals, logs and messages: makes strangers' text safe to print, and cuts long lists short."""

from __future__ import annotations

import re
from collections.abc import Sequence

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what changes the writing direction
    "\u00ad\u200b\u2060-\u2064\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # what takes no room
    "\u2028\u2029\ud800-\udfff]"  # line ends that not every reader knows; halves of a character
)


def first_few(items: Sequence[str], *, at_most: int = 8) -> list[str]:
    """The first `at_most` items, and "and 3 more" in place of the others; for the caller to join."""
    others = len(items) - at_most
    return [*items[:at_most], f"and {others} more"] if others > 0 else list(items)


def counted(count: int, noun: str) -> str:
    """A number and its noun: "1 file", "2 files"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def figures(value: float, digits: int, *, sign: bool = False) -> str:
    """A number to `digits` significant digits, and to the whole where it has more before the point; no `1.1e+02`."""
    plus = "+" if sign else ""
    return f"{value:{plus}.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:{plus}.{digits}g}"


def shortened(text: str, at_most: int) -> str:
    """`text`, cut to `at_most` characters if it is longer, the last three then being dots."""
    return text if len(text) <= at_most else text[: at_most - 3] + "..."


def visible(text: str) -> str:
    """`text` without the characters that cannot be seen and change what is: control characters, writing direction."""
    return _UNSEEN.sub("", text)


def is_text(text: str) -> bool:
    """Whether UTF-8 can hold `text`: no half of a surrogate pair, which is how bytes of other encodings come in."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def sanitise(text: str) -> str:
    """Make a stranger's text safe to print: no ANSI sequences, unseen characters or CI workflow commands."""
    text = re.sub(r"\x1b(\[[0-?]*[ -/]*[@-~]|[\]PX^_].*?(\x07|\x1b\\|$)|[ -/]*[0-~])", "", text, flags=re.MULTILINE)
    # all that `splitlines` ends a line at, or is removed
    text = visible(re.sub("\r\n|[\r\u2028\u2029]", "\n", text))
    # GitHub's runner obeys ##[ anywhere in a line, and :: after any blanks
    text = re.sub(r"(?<!#)#{2,}\[+", "", text)  # the look back keeps it linear in a text of nothing but #
    return re.sub(r"^([^\S\n]*)(?:::[^\S\n]*)+", r"\1", text, flags=re.MULTILINE)
