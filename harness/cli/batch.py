"""`harness run` of several submissions: one process each, in turn or in parallel, and one table at the end."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.base.errors import InfrastructureError, UsageError
from harness.cli._common import console, is_quiet, print_json, print_rows
from harness.cli.outcomes import outcome, print_board, with_standings

WORST_FIRST = (50, 40, 30, 24, 23, 22, 21, 20, 11, 10, 2)
"""The exit status of a batch is the first of these that any of its runs had: faults of this machine come before faults
of a submission."""


def run_batch(
    submissions: Sequence[Path],
    protocol: str,
    leaderboard: Path,
    *,
    jobs: int,
    options: Sequence[str],
    as_json: bool,
) -> None:
    """Run every submission, print what became of each, and exit with the worst status if any failed.

    `options` are passed on to each `harness run`.
    """
    from harness.base.process import run_together
    from harness.board.build import write_board
    from harness.cli.terminal import TerminalReporter
    from harness.pipeline.prepare import prepare_labels
    from harness.protocol import load_protocol

    names = _names(submissions)
    # before the processes start, which would otherwise all wait for it
    prepare_labels(load_protocol(protocol), TerminalReporter(), leaderboard=leaderboard)

    options = ["-p", protocol, "--leaderboard", str(leaderboard), "--json", *options]
    jobs = min(jobs, len(submissions))
    commands = [
        [sys.executable, "-m", "harness", "run", str(path), *options, "--share", str(index % jobs), str(jobs)]
        for index, path in enumerate(submissions)
    ]
    screen = console(stderr=True)
    began: dict[int, float] = {}
    rows: dict[int, dict[str, Any]] = {}

    def started(index: int) -> None:
        began[index] = time.monotonic()
        if is_quiet():
            return
        screen.print(f"{names[index]:<20} started", highlight=False)

    def ended(index: int, done: subprocess.CompletedProcess[str]) -> None:
        rows[index] = _outcome(names[index], done, seconds=time.monotonic() - began[index])
        screen.print(f"{names[index]:<20} {rows[index]['outcome']}", highlight=False, soft_wrap=True)

    run_together(commands, jobs=jobs, started=started, ended=ended)
    if (leaderboard / "records").is_dir():
        write_board(leaderboard)  # each process wrote the board of the records that it saw
    table = with_standings([rows[index] for index in sorted(rows)], leaderboard)
    if as_json:
        print_json(table)
    else:
        shown = [{key: row[key] for key in row if key != "folder"} for row in table]
        print_rows(shown, as_json=False)
        print_board(leaderboard)
    leave_with_worst(row["exit"] for row in table)


def _names(submissions: Sequence[Path]) -> list[str]:
    """The slugs of submissions. UsageError where one is given twice, or a folder does not exist."""
    from harness.submission.manifest import NAME_ONE

    names = [path.resolve().name for path in submissions]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"given more than once: {', '.join(twice)}", fix="give every submission once")
    missing = [str(path) for path in submissions if not path.is_dir()]
    if missing:
        raise UsageError(f"no such folder: {', '.join(missing)}; nothing was run", fix=NAME_ONE)
    return names


def leave_with_worst(statuses: Iterable[int]) -> None:
    """Exit with the worst of several exit statuses, unless all of them are 0."""
    found = {status for status in statuses if status}
    if found:
        sys.exit(next((status for status in WORST_FIRST if status in found), InfrastructureError.exit_code))


def _outcome(slug: str, done: subprocess.CompletedProcess[str], *, seconds: float) -> dict[str, Any]:
    """The row of a finished `harness run --json`."""
    with contextlib.suppress(ValueError):  # it ended before it had a record
        (row,) = json.loads(done.stdout)
        return {**outcome(slug, status=0, text=""), **row, "s": round(seconds)}  # in the order of its keys
    errors = [line.removeprefix("error:").strip() for line in done.stderr.splitlines() if line.startswith("error:")]
    last = done.stderr.strip().splitlines()[-1:] or ["no message"]  # of a bug of the harness, or killed
    text = errors[-1] if errors else f"ended with status {done.returncode}: {last[0]}"
    return outcome(slug, status=done.returncode, text=text, seconds=seconds)
