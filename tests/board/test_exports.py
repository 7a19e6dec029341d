from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import msgspec
import pytest
from huggingface_hub.repocard_data import model_index_to_eval_results
from yaml import safe_load

from harness.board.exports import as_json, badge, latex, model_card
from harness.board.ranking import rank
from harness.records.schema import Record, make_record
from tests.board.further_records import CONDITIONS, GATED, with_further
from tests.board_records import PROTOCOL, failed, observed, on_another_processor, scored

HOSTILE = "50 % & \\input{x} <b>_#^~$\n$$"


def _with_replicates(slug: str, kid: float, *shifts: float) -> Record:
    """A record whose KID without each patient in turn is off by `shifts`."""
    result = scored(slug, kid).result
    without = {f"p{index}": kid + shift for index, shift in enumerate(shifts)}
    value = msgspec.structs.replace(result.metrics["KID"]["whole"], without=without)
    return make_record(msgspec.structs.replace(result, metrics={"KID": {"whole": value}}), observed())


def test_json_holds_every_row_and_value() -> None:
    rows = rank([scored("tv", 1.5), failed("broken")], PROTOCOL)
    (found,) = json.loads(as_json([(PROTOCOL, rows)]))["protocols"]
    assert (found["name"], found["version"], found["digest"]) == (PROTOCOL.name, PROTOCOL.version, PROTOCOL.digest)
    first, last = found["rows"]
    assert (first["slug"], first["rank"], first["record"]) == ("tv", 1, rows[0].record.id)
    assert first["values"]["label"]["KID"]["lung"]["value"] == 0.75
    assert first["values"]["truth"]["KID"]["whole"]["low"] == 2.4  # the truth's KID is 1 more, the interval 0.1 wide
    assert (last["standing"], last["values"]) == ("unranked", {"label": {}, "truth": {}})


def test_latex_marks_the_best_and_what_is_not_told_from_it() -> None:
    # a and b differ by 0.1, but not in every patient alike; c is as much worse whoever is left out
    records = [
        _with_replicates("a", 1.0, -0.5, 0.1, 0.4),
        _with_replicates("b", 1.1, 0.6, -0.3, -0.3),
        _with_replicates("c", 2.0, -0.5, 0.1, 0.4001),
    ]
    text = latex([(PROTOCOL, rank(records, PROTOCOL))]).partition(r"\end{table}")[0]  # that against the label
    cells = {line.split(" & ")[1]: line.split(" & ")[2] for line in text.splitlines() if re.match(r"\d & ", line)}
    assert {name: cell.removesuffix(r" \\") for name, cell in cells.items()} == {
        "A": r"\textbf{1}",
        "B": "1.1$^{=}$",
        "C": "2",
    }


def test_latex_marks_equal_outputs_alike() -> None:
    """Whatever machine scored them: their last digits differ in the same direction for every patient."""
    one = scored("a", 1.0)
    rows = rank([on_another_processor(one, 5e-7, slug="b"), one, scored("c", 2.0)], PROTOCOL)
    assert [(row.record.result.submission.slug, row.rank, row.tier) for row in rows[:2]] == [("a", 1, 1), ("b", 1, 1)]
    assert latex([(PROTOCOL, rows)]).partition(r"\end{table}")[0].count(r"\textbf{1}") == 2


def test_latex_is_whole_and_escapes_names() -> None:
    rows = rank([scored("evil", 1.0, name=HOSTILE), scored("input", 5.0, anchor=True)], PROTOCOL)
    text = latex([(PROTOCOL, rows)])
    assert r"50 \% \& \textbackslash{}input\{x\} <b>\_\#\textasciicircum{}\textasciitilde{}\$ \$\$" in text
    for name in ("table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 2  # against label and truth
    for table in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        columns, body = table
        lines = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(lines) == 3
        assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines} == {len(columns)}
    assert text.count(r"\midrule") == 4  # reference rows are set apart


def test_latex_leaves_out_boards_without_a_ranked_row() -> None:
    assert "tabular" not in latex([(PROTOCOL, rank([failed("broken")], PROTOCOL))])


def test_a_badge_tells_rank_and_value() -> None:
    first, anchor, last = rank([scored("tv", 1.5), scored("input", 9.0, anchor=True), failed("broken")], PROTOCOL)
    for row, message in ((first, "rank 1 · KID 1.5"), (anchor, "reference"), (last, "not ranked")):
        svg = ElementTree.fromstring(badge(PROTOCOL, row))
        assert svg.attrib["aria-label"] == f"{PROTOCOL.identity}: {message}"
        assert [node.text for node in svg.iter("{http://www.w3.org/2000/svg}text")] == [PROTOCOL.identity, message]


@pytest.mark.parametrize("given", ["T: 'V'\n- x", '"\\ # {é} \U0001f600 \u2028 \x85 \x7f &a *a', "no", "1e5"])
def test_hugging_face_reads_the_model_card(given: str) -> None:
    (row,) = rank([scored("tv", 1.5, name=given)], PROTOCOL)
    name, results = model_index_to_eval_results(safe_load(model_card(PROTOCOL, row))["model-index"])
    assert name == given
    assert {(one.metric_type, one.metric_value) for one in results} == {
        ("kid", 1.5), ("ssim", 0.5), ("kid", 2.5),
    }  # fmt: skip
    assert {one.dataset_type for one in results} == {PROTOCOL.identity}
    assert {one.task_type for one in results} == {"image-to-image"}


def test_tiny_values_of_a_model_card_are_numbers() -> None:
    """YAML 1.1 reads 1e-05 as a text."""
    (row,) = rank([scored("tv", 1e-05)], PROTOCOL)
    (entry,) = safe_load(model_card(PROTOCOL, row))["model-index"]
    values = [metric["value"] for metric in entry["results"][0]["metrics"]]
    assert 1e-05 in values
    assert all(isinstance(value, float) for value in values)


def test_latex_of_many_rows_holds_what_fits_a_page() -> None:
    text = latex([(PROTOCOL, rank([scored(f"s{number:02}", 1.0 + number) for number in range(45)], PROTOCOL))])
    table = text.partition(r"\end{table}")[0]
    assert "S39" in table
    assert "S40" not in table
    assert "The first 40 of 45 ranked rows." in table


def test_json_of_a_gated_board_holds_further_values_and_verdicts() -> None:
    rows = rank([with_further("tv", 30.0, lost=0.5)], GATED)
    (found,) = json.loads(as_json([(GATED, rows)]))["protocols"]
    assert found["rank_by"] == {"metric": "RMSE", "region": "lung", "reference": "truth"}
    (row,) = found["rows"]
    assert row["lesions"] == "loses lesions (d' -0.50, -0.60 to -0.40)"
    assert set(row["values"]) == {"label", "truth", "coupled", "scans", "lesions"}
    assert row["values"]["lesions"]["d' (Hotelling)"][CONDITIONS[0]]["value"] == 1.0
    assert row["values"]["scans"]["random error"]["lung"]["value"] == 15


def test_latex_of_a_gated_board_begins_with_its_ranking() -> None:
    rows = rank([with_further("sharp", 30.0), with_further("blur", 20.0, lost=0.5)], GATED)
    text = latex([(GATED, rows)])
    first, second, *_ = text.split(r"\end{table}")
    assert "ranked by RMSE (lung) against the noise-free truth." in first
    assert rf"\label{{tab:{GATED.identity}-ranking}}" in first
    lines = [line.removesuffix(r" \\") for line in first.splitlines() if re.match(r"\d & ", line)]
    assert [line.split(" & ")[1:3] for line in lines] == [["SHARP", "30"], ["BLUR", r"\textbf{20}"]]
    assert [line.split(" & ")[-1].partition(" (")[0] for line in lines] == ["keeps lesions", "loses lesions"]
    assert "5 \\% of the noisy input's" in first
    assert "whole image against the label. Ranked by RMSE (lung) against the truth." in second


def test_a_badge_of_a_gated_board_says_against_what_and_whether_lesions_are_lost() -> None:
    first, second = rank([with_further("sharp", 30.0), with_further("blur", 20.0, lost=0.5)], GATED)
    messages = [ElementTree.fromstring(badge(GATED, row)).attrib["aria-label"] for row in (first, second)]
    assert [message.partition(": ")[2] for message in messages] == [
        "rank 1 · RMSE 30 (lung, truth)",
        "rank 2 · RMSE 20 (lung, truth) · loses lesions",
    ]


def test_a_model_card_of_a_gated_board_begins_with_what_ranks() -> None:
    (row,) = rank([with_further("tv", 30.0, lost=0.5)], GATED)
    (entry,) = safe_load(model_card(GATED, row))["model-index"]
    names = {metric["name"]: metric["value"] for metric in entry["results"][0]["metrics"]}
    assert next(iter(names)) == "RMSE (lung, against the truth)"
    assert names["RMSE (lung, against the truth)"] == 30
    assert names["error without truth (lung)"] == 31
    assert names["d' (Hotelling) less the input's (mean over all lesions)"] == -0.5
    assert names["RMSE (whole image, against the purified label)"] == 65
