from __future__ import annotations

import io
import itertools
import re
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from rich.text import Text

from harness.board.build import write_board
from harness.cli import _common
from harness.cli._common import console, print_failure, print_rows
from harness.cli.summaries import print_scores, print_standing
from harness.pipeline.evaluate import Evaluation
from harness.records.store import keep_protocol, write_record
from tests.board.further_records import CONDITIONS, GATED, with_further
from tests.board_records import PROTOCOL, scored


def test_a_submissions_name_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    result = scored("mine", 1.0).result
    named = msgspec.structs.replace(result.submission, name="Best [/b] [red]model")
    print_scores(msgspec.structs.replace(result, submission=named), PROTOCOL)
    assert "Best [/b] [red]model on phantom-mini-5, against the label" in " ".join(capsys.readouterr().out.split())


HOSTILE = "\x1b[2J\x9b2J[/x] :warning: \u202egnp.exe\u2028::stop-commands::x"


def test_no_text_of_a_stranger_reaches_the_terminal_raw(capsys: pytest.CaptureFixture[str]) -> None:
    console().print(HOSTILE)
    console().print(Text(HOSTILE), soft_wrap=True)
    print_rows([{HOSTILE: HOSTILE}], as_json=False)
    print_failure("run", 20, "submission", HOSTILE, HOSTILE)
    print_rows([{"name": HOSTILE}], as_json=True)
    said = "".join(capsys.readouterr())
    assert said.count("[/x] :warning: gnp.exe") == 6  # no markup, no emoji
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u2028]", said)
    assert not any(line.lstrip().startswith("::") for line in said.splitlines())


def test_no_verb_writes_markup_which_the_printer_takes_for_text() -> None:
    for path in Path(_common.__file__).parent.glob("*.py"):
        assert not re.search(r"\[/\]|\[/?(bold|dim|red|green|yellow)\b[ \w]*\]", path.read_text()), path


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


def test_the_table_that_ranks_comes_first_and_a_difference_has_none_below_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = with_further("mine", 30.0, lost=0.5).result
    print_scores(result, GATED, result.tables)
    said = capsys.readouterr().out
    assert GATED.rank_by.reference == "truth"
    assert said.index("against the truth") < said.index("against the label") < said.index(", lesions")
    lines = said[said.index(", lesions") :].splitlines()
    below = [second for first, second in itertools.pairwise(lines) if "d' (" in first]
    assert ["input, difference" in one for one in below] == [True, False, True, False]


def test_further_slices_have_tables_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    print_scores(with_further("mine", 30.0, lost=0.5).result, GATED)
    said = capsys.readouterr().out
    for title in ("against the truth", "bias and noise", "error without truth", "lesions"):
        assert f", {title}" in " ".join(said.split())
    (head,) = (line for line in said.splitlines() if all(name in line for name in (*CONDITIONS, "all")))
    assert head.index(CONDITIONS[0]) < head.index(CONDITIONS[2]) < head.index("all")
    (lost,) = (line for line in said.splitlines() if "d' (eye) less the input's" in line)
    assert "-1 ±0.1" in lost  # the smallest lesion loses twice 0.5
    assert "exact interval" not in said


def test_the_last_panel_says_against_what_and_what_becomes_of_lesions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_protocol(tmp_path, GATED)
    records = [with_further("sharp", 30.0), with_further("blur", 20.0, lost=0.5)]
    folders = [write_record(tmp_path, record, {})[0] for record in records]
    write_board(tmp_path)
    evaluation = Evaluation(record=records[1], folder=str(folders[1]), new=True, run=None)
    print_standing(evaluation, GATED, tmp_path, deterministic=True)
    said = " ".join(capsys.readouterr().out.split())
    assert "result rank 2 of 2 (tier 2) by RMSE, lung, against the truth" in said
    assert "lesions loses lesions (d' -0.50, -0.60 to -0.40)" in said
