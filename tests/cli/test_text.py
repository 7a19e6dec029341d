"""Numbers that no run can use, text that no file can hold, locales of every kind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.submission.manifest import load_submission
from tests.command import ROOT, Done, harness, harness_process
from tests.small import small_protocol


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


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_output_that_does_not_arrive_is_said(options: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "harness", "list", "protocols", *options]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 50
    assert "error: standard output: No space left on device" in done.stderr
    assert "Exception ignored" not in done.stderr


def test_an_interrupt_speaks_of_a_container_only_where_one_ran(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(small_protocol("patients: 8, slices: 8, size: 512"))
    cache, out = tmp_path / "cache", tmp_path / "out"
    command = [sys.executable, "-m", "harness", "labels", "-p", str(tmp_path / "small.yaml"), "-o", str(out)]
    environment = {**os.environ, "HARNESS_CACHE": str(cache)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        while not cache.exists() and process.poll() is None:  # from then on it makes slices
            time.sleep(0.05)
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "interrupted: finished work is kept"
    assert not out.exists()


@pytest.mark.parametrize("locale", [{"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, {"LC_ALL": "C"}])
def test_any_locale_will_do(tmp_path: Path, locale: dict[str, str]) -> None:
    encoding = {"PYTHONIOENCODING": "ascii"} if len(locale) == 1 else {}
    made = harness_process("new", "mine", "--author", "José 😀", "--into", str(tmp_path), **locale, **encoding)
    assert (made.returncode, made.stderr) == (0, "")
    assert load_submission(tmp_path / "mine").manifest.authors == ("José 😀",)
    shown = harness_process("list", "submissions", cwd=tmp_path, **locale, **encoding)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.isascii()
