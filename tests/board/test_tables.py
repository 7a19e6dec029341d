"""The README of a board that ranks by the truth and gates lesions; boards of the first kind are in `test_build.py`."""

from __future__ import annotations

import csv as csv_of
import io

import msgspec

from harness.board.ranking import rank
from harness.board.tables import csv, markdown
from harness.protocol import RankBy
from harness.records.schema import Record
from harness.sandbox import NOT_ISOLATED
from tests.board.further_records import CONDITIONS, GATED, with_further
from tests.board_records import PROTOCOL, failed, scored


def readme(*records: Record, pictures: bool = False) -> str:
    strips = {record.id: f"{record.id}.webp" if pictures else "" for record in records}
    return markdown([(GATED, rank(records, GATED))], strips)


def cells(text: str, heading: str) -> list[list[str]]:
    """The first table below a heading, its head first, without intervals."""
    lines = text[text.index(heading) :].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    found = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip().partition("<br>")[0] for cell in line.strip("|").split("|")])
    return [found[0], *found[2:]]


def test_the_first_table_is_the_ranking_and_says_why_each_row_stands_there() -> None:
    text = readme(with_further("sharp", 30.0), with_further("blur", 20.0, lost=0.5), pictures=True)
    assert "Ranked by **RMSE** (lung) against the noise-free truth. In brackets" in text
    assert "Lesion gate: a submission that loses lesions ranks below all others." in text
    headings = [line for line in text.splitlines() if line.startswith("### ")]
    assert headings == [
        "### Ranking",
        "### The paper's protocol: against the purified label",
        "### Whole image against the truth",
    ]
    head, first, second = cells(text, "### Ranking")
    assert head == [
        "", "tier", "Submission", "lung", "RMSE HU ↓", "lesions", "systematic error HU ↓", "random error HU ↓",
        "error without truth HU ↓", "n",
    ]  # fmt: skip
    assert [first[0], *first[2:3], *first[4:]] == ["1", "SHARP 1", "30", "keeps lesions", "6", "15", "31", "12"]
    assert [second[0], *second[2:3], *second[4:6]] == ["2", "BLUR 1", "20", "loses lesions"]
    assert text.count("<img ") == 2, "a picture for each row, in the ranking alone"
    assert "<sub>d' -0.50, -0.60 to -0.40</sub>" in text


def test_descriptive_columns_come_last() -> None:
    head, *_ = cells(readme(with_further("tv", 30.0)), "### The paper's protocol")
    assert head[3:] == ["KID ↓", "RMSE HU ↓", "SSIM ↑", "noise HU", "n"]


def test_regions_and_lesions_are_folded_below() -> None:
    text = readme(with_further("tv", 30.0))
    summaries = [line for line in text.splitlines() if line.startswith("<details>")]
    lesions = [line for line in summaries if "Lesions" in line]
    assert [line.partition("Lesions: ")[2] for line in lesions] == [
        f"{name}</summary>" for name in (*CONDITIONS, "mean over all")
    ]
    assert text.count("<details>") == text.count("</details>")
    lung = text[text.index("Region: lung") :]
    for title, column, value in (
        ("Error without truth", "RMSE HU ↓", "31"),
        ("Systematic and random error", "random error HU ↓", "15"),
    ):
        head, row = cells(lung, title)
        assert row[head.index(column)] == value
    head, row = cells(text, f"Lesions: {CONDITIONS[0]}")
    assert head[3:] == [
        "d' (Hotelling) ↑", "d' (Hotelling) less the input's ↑", "d' (eye) ↑", "d' (eye) less the input's ↑",
        "d' (Hotelling, exact interval)", "n",
    ]  # fmt: skip
    assert row[3] == "2"


def test_a_board_ranked_without_truth_says_so() -> None:
    protocol = msgspec.structs.replace(GATED, rank_by=RankBy(metric="RMSE", region="lung", reference="coupled"))
    record = with_further("tv", 30.0, protocol=protocol)
    text = markdown([(protocol, rank([record], protocol))], {record.id: ""})
    assert "against the slice's own kept noise, without truth." in text
    head, row = cells(text, "### Ranking")
    assert (head[3], row[3]) == ("RMSE HU ↓", "31")
    assert "error without truth HU ↓" not in head


def test_csv_holds_further_values_and_what_is_said_of_lesions() -> None:
    text = csv([(GATED, rank([with_further("tv", 30.0, lost=0.5)], GATED))])
    rows = list(csv_of.DictReader(io.StringIO(text)))
    found = {(row["reference"], row["metric"], row["region"]): float(row["value"]) for row in rows}
    assert found["scans", "systematic error", "lung"] == 6
    assert found["coupled", "RMSE", "whole"] == 63
    assert found["lesions", "d' (eye) less the input's", CONDITIONS[0]] == -1
    assert {row["lesions"] for row in rows} == {"loses lesions (d' -0.50, -0.60 to -0.40)"}
    assert "lesions" not in csv([(PROTOCOL, rank([scored("tv", 1.0)], PROTOCOL))])


def test_csv_of_a_failed_row_leaves_counts_whole() -> None:
    rows = list(csv_of.DictReader(io.StringIO(csv([(PROTOCOL, rank([scored("tv", 1.0), failed("nlm")], PROTOCOL))]))))
    assert {row["n"] for row in rows} == {"12", ""}
    assert rows[-1]["reason"].startswith("failed at stage run")


def test_a_row_says_that_its_run_was_trusted_and_not_isolated() -> None:
    isolated = with_further("sharp", 30.0)
    observed = msgspec.structs.replace(isolated.observed, engine=f"apptainer 1.3.0, {NOT_ISOLATED}")
    text = readme(msgspec.structs.replace(isolated, observed=observed))
    assert "SHARP 1<br><sub>trusted, not isolated</sub>" in text
    assert "not isolated" not in readme(isolated)
    rows = list(csv_of.DictReader(io.StringIO(csv([(GATED, rank([isolated], GATED))]))))
    assert "isolated" not in rows[0]
