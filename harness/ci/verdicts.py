"""Verdict: what became of one submission of a pull request, in words."""

from __future__ import annotations

from collections.abc import Sequence

from harness.base.errors import HarnessError
from harness.base.structs import Strict
from harness.base.text import sanitise
from harness.ci.pull_request import PullRequest

MESSAGE_SHOWN = 2000  # characters of one message, at most


class Verdict(Strict, frozen=True, kw_only=True):
    """What became of one submission; `message` is plain text that may quote strangers."""

    slug: str
    exit_status: int
    message: str


def verdict_of(slug: str, error: HarnessError) -> Verdict:
    """The verdict on a submission that ended in an error."""
    fix = f"\nfix: {error.fix}" if error.fix else ""
    return Verdict(slug=slug, exit_status=error.exit_code, message=f"stage {error.stage}: {error.message}{fix}")


def as_markdown(pull: PullRequest, verdicts: Sequence[Verdict]) -> str:
    """The verdicts as markdown. Text from strangers stands in code blocks: no links, no mentions, no formatting."""
    parts = [f"Submissions changed by {pull.head[:12]}, compared with {pull.base[:12]}:"]
    for one in verdicts:
        word = "valid" if one.exit_status == 0 else f"failed, exit status {one.exit_status}"
        parts.append(f"**{_slug(one.slug)}**: {word}")
        parts.append(quoted(one.message))
    parts += [f"**{_slug(slug)}**: removed: nothing to run; its records stay" for slug in pull.removed]
    if not pull.changed and not pull.removed:
        parts.append("No submission is changed: nothing to run.")
    return "\n\n".join(parts) + "\n"


def quoted(text: str) -> str:
    """Text from a stranger as an indented code block of markdown."""
    text = sanitise(text)
    shown = text if len(text) <= MESSAGE_SHOWN else text[:MESSAGE_SHOWN] + " ..."
    return "\n".join(f"    {line}" for line in shown.splitlines())


def _slug(slug: str) -> str:
    """The name of a folder, which need not be a valid slug, as code."""
    return "`" + ascii(slug)[1:-1].replace("`", "'")[:80] + "`"
