"""Who may run beside whom, and what the hostile suite did as a table at its end."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.cases import ALL, ALONE, Case

GATE, MACHINE = (Path(tempfile.gettempdir()) / f"ipv2-harness-tests.{name}" for name in ("gate", "machine"))


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what needs Podman on one worker: its list of images fails while another process removes one."""
    for item in items:
        if isinstance(item, pytest.Function) and _parameter(item, "engine") == "podman":
            item.add_marker(pytest.mark.xdist_group("podman"))


def _parameter(item: pytest.Function, name: str) -> object:
    return item.callspec.params.get(name) if hasattr(item, "callspec") else None


@pytest.fixture(autouse=True)
def _turn(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let tests of several workers run side by side, but for a case that takes the machine: that one runs alone."""
    case = _parameter(request.node, "case")
    alone = isinstance(case, Case) and case.name in ALONE
    with GATE.open("w") as gate, MACHINE.open("w") as machine:
        fcntl.flock(gate, fcntl.LOCK_EX)  # who waits to be alone holds the gate: nobody goes in before it
        fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = [
        value
        for report in terminalreporter.stats.get("passed", [])
        for name, value in getattr(report, "user_properties", ())
        if name == "hostile"
    ]
    if not rows:
        return
    places = {case.name: place for place, case in enumerate(ALL)}
    rows.sort(key=lambda row: places[row[0]])
    rows.insert(0, ["case", "exit", "stage", "whose fault", "bound that held", "container"])
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    terminalreporter.section(f"hostile submissions: {len(rows) - 1} held")
    for row in rows:
        terminalreporter.write_line("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)))
