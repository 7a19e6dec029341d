"""The verdict on a pull request, as `harness ci check` prints it."""

from __future__ import annotations

from collections.abc import Callable

from harness.ci.pull_request import PullRequest
from harness.ci.verdicts import Verdict, as_markdown
from tests.clone import Clone
from tests.command import Done


def test_a_change_without_submissions_is_not_judged(clone: Clone, check: Callable[[], Done]) -> None:
    clone.write("harness/judge.py", "judges better\n")
    assert clone.pull_request().changed == ()
    done = check()
    assert done.returncode == 0, done.stderr
    assert "nothing to run" in done.stdout


def test_a_refusal_is_a_verdict_too(clone: Clone, check: Callable[[], Done]) -> None:
    clone.submission("newer")
    clone.write("a\n::error::b", "theirs\n")
    clone.commit()
    done = check()
    assert done.returncode == 2
    assert done.stdout.startswith("Refused:\n\n    the pull request changes submissions and ")
    assert r"'a\n::error::b'" in done.stdout
    assert not any(line.lstrip().startswith("::") for line in (done.stdout + done.stderr).splitlines())


def test_a_verdict_quotes_strangers_as_code() -> None:
    pull = PullRequest(base="b" * 40, head="h" * 40, changed=("x",), removed=("y`<b>",))
    text = as_markdown(pull, [Verdict(slug="x", exit_status=20, message="one\n::stop::\n\n# @all ```\n" + "z" * 9000)])
    lines = text.splitlines()
    at = lines.index("    one")
    assert lines[at + 1 : at + 4] == ["    stop::", "    ", "    # @all ```"]
    assert len(text) < 3000
    assert "**`y'<b>`**: removed" in text
