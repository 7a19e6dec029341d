from __future__ import annotations

import msgspec
import pytest

from harness.cli.summaries import print_scores
from tests.board_records import PROTOCOL, scored


def test_a_submissions_name_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    result = scored("mine", 1.0).result
    named = msgspec.structs.replace(result.submission, name="Best [/b] [red]model")
    print_scores(msgspec.structs.replace(result, submission=named), PROTOCOL)
    assert "Best [/b] [red]model on phantom-mini-3, against the label" in " ".join(capsys.readouterr().out.split())
