"""Prints what the hostile suite did as a table at its end."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = [
        value
        for report in terminalreporter.stats.get("passed", [])
        for name, value in getattr(report, "user_properties", ())
        if name == "hostile"
    ]
    if not rows:
        return
    rows.insert(0, ["case", "exit", "stage", "whose fault", "bound that held", "container"])
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    terminalreporter.section(f"hostile submissions: {len(rows) - 1} held")
    for row in rows:
        terminalreporter.write_line("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)))
