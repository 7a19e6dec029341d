from __future__ import annotations

import errno

import pytest

from harness.base.errors import InfrastructureError, UsageError
from harness.base.unforeseen import as_harness_error
from harness.cli._common import show_error


def test_an_error_on_purpose_stays_and_any_other_says_what_it_was() -> None:
    known = UsageError("no such file")
    assert as_harness_error(known) is known
    full = as_harness_error(OSError(errno.ENOSPC, "No space left on device", "/srv/x"))
    assert (full.message, full.exit_code) == ("/srv/x: No space left on device", 50)
    below = as_harness_error(NotADirectoryError(errno.ENOTDIR, "Not a directory", "/dev/null/x"))
    assert (below.message, below.exit_code) == ("/dev/null/x: Not a directory", 2)
    bug = as_harness_error(KeyError("lung"))
    assert isinstance(bug, InfrastructureError)
    assert bug.message == "the harness itself failed: KeyError: 'lung'"


def test_a_bug_is_shown_with_its_traceback_and_strangers_words_in_it_are_cleaned(
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        raise ValueError("\x1b[2J\u2028::stop-commands::x")
    except ValueError as error:
        show_error(error)
    said = capsys.readouterr().err
    assert "test_unforeseen.py" in said
    assert "the harness itself failed: ValueError" in said
    assert "\x1b" not in said
    assert not any(line.lstrip().startswith("::") for line in said.splitlines())
