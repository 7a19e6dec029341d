from __future__ import annotations

import io

import click
import pytest
from rich.console import Console

from harness.cli._common import QUIET
from harness.cli.terminal import TerminalReporter


def test_a_log_gets_one_line_a_stage() -> None:
    text = io.StringIO()
    with TerminalReporter(Console(file=text)).stage("labels") as progress:
        for done in range(1, 49):
            progress(done, 48)
    assert text.getvalue().splitlines()[0].startswith("labels       done in")
    assert len(text.getvalue().splitlines()) == 1


def test_a_quiet_verb_shows_notes_and_no_steps() -> None:
    shown = {}
    for quiet in (False, True):
        text = io.StringIO()
        context = click.Context(click.Command("run"))
        context.meta[QUIET] = quiet
        with context:
            TerminalReporter(Console(file=text)).step("downloading")
            TerminalReporter(Console(file=text)).note("look at it")
        shown[quiet] = text.getvalue()
    assert shown == {False: "downloading\nlook at it\n", True: "look at it\n"}


def test_a_stage_that_fails_is_named() -> None:
    text = io.StringIO()
    with pytest.raises(RuntimeError), TerminalReporter(Console(file=text)).stage("run"):
        raise RuntimeError
    assert text.getvalue().startswith("run          stopped after")


def test_a_terminal_gets_a_bar() -> None:
    text = io.StringIO()
    with TerminalReporter(Console(file=text, force_terminal=True, width=80)).stage("data") as progress:
        progress(12, 48)
    assert "12/48" in text.getvalue()
    assert "done in" in text.getvalue()
