"""Numbers that no run can use, text that no file can hold, locales of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.submission.manifest import load_submission
from tests.command import Done, harness, harness_process


def assert_refused(done: Done, expected: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert expected in done.stderr


def test_numbers_and_text_that_no_run_can_use_are_refused_at_the_door(tmp_path: Path) -> None:
    for count in ("0", "-1"):
        assert_refused(harness("check", "submissions/identity", "--slices", count), "--slices")
        assert_refused(harness("noise", "-p", "phantom-mini", "--slices", count), "--slices")
    assert_refused(harness("new", "mine", "--author", "\udce9", "--into", str(tmp_path)), r"'\udce9' is not text")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("locale", [{"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, {"LC_ALL": "C"}])
def test_any_locale_will_do(tmp_path: Path, locale: dict[str, str]) -> None:
    encoding = {"PYTHONIOENCODING": "ascii"} if len(locale) == 1 else {}
    made = harness_process("new", "mine", "--author", "José 😀", "--into", str(tmp_path), **locale, **encoding)
    assert (made.returncode, made.stderr) == (0, "")
    assert load_submission(tmp_path / "mine").manifest.authors == ("José 😀",)
    shown = harness_process("list", "submissions", cwd=tmp_path, **locale, **encoding)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.isascii()
