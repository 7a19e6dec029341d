from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from harness.cli import _common
from harness.cli._common import print_rows
from harness.cli.summaries import print_scores
from tests.board_records import PROTOCOL, scored


def test_a_submissions_name_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    result = scored("mine", 1.0).result
    named = msgspec.structs.replace(result.submission, name="Best [/b] [red]model")
    print_scores(msgspec.structs.replace(result, submission=named), PROTOCOL)
    assert "Best [/b] [red]model on phantom-mini-4, against the label" in " ".join(capsys.readouterr().out.split())


ROW = {"id": "799e1c77deb3137c", "slug": "a-slug-" * 5, "value": "0.00034567 ±0.000012345", "date": "2026-11-22T19:30Z"}


def test_a_pipe_gets_every_cell_on_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_rows([ROW], as_json=False)
    assert any(all(cell in line for cell in ROW.values()) for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("width", [20, 30, 50, 60, 80])
def test_a_terminal_folds_what_does_not_fit_and_cuts_nothing(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(_common, "console", lambda: screen)
    print_rows([ROW], as_json=False)
    assert isinstance(screen.file, io.StringIO)
    lines = [line.split("│") for line in screen.file.getvalue().splitlines() if line.startswith("│")]
    cells = ["".join(part.strip() for part in column) for column in zip(*lines, strict=True)][1:-1]
    assert cells == [cell.replace(" ", "") for cell in ROW.values()]
    if width >= 50:
        assert ROW["id"] in screen.file.getvalue()
