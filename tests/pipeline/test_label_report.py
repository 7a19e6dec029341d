from __future__ import annotations

from typing import Any

import msgspec
import pytest

from harness.base.progress import Quiet
from harness.dataset.cases import Dataset
from harness.labels.label_set import LabelSet
from harness.pipeline import label_report
from harness.pipeline.label_report import report_labels
from harness.pipeline.prepare import LabelledData
from harness.protocol import Protocol, RankBy
from tests.board_records import PROTOCOL


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the report is asked for; it is not made, nor are networks loaded."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(label_report, "assess_labels", lambda *_, **options: found.update(options))
    monkeypatch.setattr(label_report, "load_extractors", lambda *_, **__: [])
    return found


def data(protocol: Protocol) -> LabelledData:
    return LabelledData(
        protocol=protocol,
        dataset=Dataset(cases=(), window_hu=None, digest="data"),
        labels=LabelSet(folder="", digest="labels", consensus=None),
        weak_outputs=None,
    )


def test_a_label_report_ranks_by_what_ranks_against_labels(asked: dict[str, Any]) -> None:
    report_labels(data(PROTOCOL), Quiet())
    assert (asked["metric"].name, asked["region"]) == ("KID", "whole")


@pytest.mark.parametrize("reference", ["truth", "coupled"])
def test_what_ranks_without_labels_says_nothing_of_them(reference: Any, asked: dict[str, Any]) -> None:
    """The report's own error in the lung remains."""
    by = RankBy(metric="RMSE", region="lung", reference=reference)
    report_labels(data(msgspec.structs.replace(PROTOCOL, rank_by=by)), Quiet())
    assert (asked["metric"], asked["extractor"]) == (None, None)
