"""Pages of a board that ranks by the truth and gates lesions, as text. Older boards are in `test_pages.py`."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

import msgspec
import pytest

from harness.base.structs import canonical_json
from harness.board.build import write_board
from harness.board.ranking import rank
from harness.board.site import compare
from harness.board.site.columns import lesions, of_every_metric, of_ranking, switch
from harness.board.site.facts import plain, validity
from harness.board.site.further import of_record, words_of
from harness.board.site.plots import pareto
from harness.records.schema import Record
from harness.records.store import keep_protocol, write_record
from harness.scoring.attachment_names import PICTURES
from harness.scoring.bias_map import FILE, BiasMap
from harness.scoring.pictures import Pictures
from tests.board.further_records import CONDITIONS, GATED, value, with_further
from tests.board.site.board import attachments, with_circumstances
from tests.board_records import scored


def bias_map(files: dict[str, bytes]) -> dict[str, bytes]:
    """Attachments with a map of the systematic error among their pictures."""
    pictures = msgspec.json.decode(files[PICTURES], type=Pictures)
    facts = BiasMap(case="p1-s1", patient="p1", outputs=3, full=100.0, unit="HU", noise=4.0, crop=(0, 0, 60, 80))
    picture = files["worst-input.webp"]
    return files | {PICTURES: canonical_json(msgspec.structs.replace(pictures, bias=facts)), FILE: picture}


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Record]]:
    root = tmp_path_factory.mktemp("further")
    board = root / "leaderboard"
    records = {
        "keeps": with_circumstances(with_further("sharp", 30.0), seconds=0.5),
        "loses": with_circumstances(with_further("blur", 20.0, lost=0.5), seconds=0.1),
        "old": scored("old", 3.0, protocol=GATED),
    }
    keep_protocol(board, GATED)
    for name, record in records.items():
        write_record(board, record, bias_map(attachments(root / name, 1.0)) if name == "keeps" else {})
    write_board(board)
    return board, records


def page(board: Path, record: Record) -> str:
    slug = record.result.submission.slug
    return unescape((board / "site" / GATED.identity / slug / f"{record.id}.html").read_text())


def section(text: str, name: str) -> str:
    return text[text.index(f'id="{name}-title"') :].partition("</section>")[0]


def test_a_record_says_what_its_observers_see_and_that_nothing_is_corrected(
    board: tuple[Path, dict[str, Record]],
) -> None:
    text = page(board[0], board[1]["loses"])
    assert "RMSE (lung, against the truth) 20.00" in text
    assert "loses lesions (d' −0.50, −0.60 to −0.40)" in text
    shown = section(text, "lesions")
    rows = re.findall(r'<tr><th scope="row">([^<]*)</th>', shown)
    assert rows == 2 * [*CONDITIONS, "mean over all"]
    assert "Channelized Hotelling observer" in shown
    assert "eye filter" in shown
    assert "[0.700, 1.30]" in shown  # the exact interval of the smallest: 1 ± 0.3
    assert "not corrected for the number of conditions" in shown
    assert shown.count("loses lesions</td>") == 2 * len(CONDITIONS)  # of the mean the head of the page speaks
    assert "no difference seen" in section(page(board[0], board[1]["keeps"]), "lesions")


def test_a_record_parts_its_error_and_shows_the_map_of_what_stays(board: tuple[Path, dict[str, Record]]) -> None:
    text = page(board[0], board[1]["keeps"])
    shown = section(text, "scans")
    assert re.findall(r'<th scope="row">(\w+) error', shown) == ["systematic", "random"]
    assert "Mean of 3 outputs of p1-s1 less the truth: blue -100 HU or less" in shown
    assert 'width="80" height="60"' in shown
    assert "31.00" in section(text, "coupled")
    assert "Mean of" not in section(page(board[0], board[1]["loses"]), "scans")


def test_a_record_without_further_slices_has_none_of_these_sections(board: tuple[Path, dict[str, Record]]) -> None:
    text = page(board[0], board[1]["old"])
    for name in ("lesions", "scans", "coupled"):
        assert f'id="{name}-title"' not in text
    assert "<strong>Not ranked.</strong>" in text


def test_index_and_protocol_say_what_ranks_and_what_the_gate_asks(board: tuple[Path, dict[str, Record]]) -> None:
    index = (board[0] / "site" / "index.html").read_text()
    own = (board[0] / "site" / GATED.identity / "index.html").read_text()
    assert "Ranked by <strong>RMSE</strong> of the region <em>lung</em> against the truth" in index
    assert "Ranked by <strong>RMSE</strong> (lung) against the noise-free truth" in own
    for text in (index, own):
        assert "Lesion gate: a submission that loses lesions ranks below all others." in text
        assert '<td class="lesions lost" data-v="-0.5">loses lesions<small>d&#39; −0.50, −0.60 to −0.40</small>' in text
        heads = re.findall(r'data-metric="(\w+)"', text)
        assert heads[0] == "RMSE"
    assert re.findall(r'<option value="(\w+)"', own)[:3] == ["truth", "label", "coupled"]
    assert "<dd>diameter_mm 2, contrast_hu 140; " in own


def test_the_board_shows_what_ranks_first_and_can_switch_to_every_reference() -> None:
    rows = rank([with_further("sharp", 30.0), with_further("blur", 20.0, lost=0.5)], GATED)
    assert [(one.name, one.region, one.reference) for one in of_ranking(GATED, rows)] == [
        ("RMSE", "lung", "truth"), ("KID", "lung", "truth"),
    ]  # fmt: skip
    assert [one.name for one in of_every_metric(GATED, rows)] == ["RMSE", "KID", "SSIM", "noise"]
    values = switch(GATED, rows)
    assert list(values) == ["truth", "label", "coupled"]
    assert [triple[0] for triple in values["coupled"]["lung"]["RMSE"]] == [31, 21]
    found = [lesions(GATED, row) for row in rows]
    assert [(one.verdict, one.value) for one in found if one] == [("keeps lesions", 0.0), ("loses lesions", -0.5)]


def test_who_loses_lesions_is_no_end_of_the_frontier() -> None:
    records = [with_further("slow", 30.0), with_further("fast", 40.0), with_further("blur", 20.0, lost=0.5)]
    timed = [with_circumstances(one, seconds=at) for one, at in zip(records, (1.0, 0.5, 0.1), strict=True)]
    plot = str(pareto(GATED, rank(timed, GATED)))
    (points,) = re.findall(r'class="frontier" points="([^"]*)"', plot)
    assert len(points.split()) == 4, "fast, the step, slow, the end"
    assert plot.count('class="dot ranked lost"') == 1
    assert "RMSE, lung, against the truth (lower is better)" in plot


def test_validity_also_asks_the_error_without_truth() -> None:
    rows = rank([with_further(f"s{at}", 20.0 + at) for at in range(6)], GATED)
    found = validity(GATED, rows)
    assert found["RMSE without truth"] == pytest.approx({"whole": 1.0, "lung": 1.0})
    assert "KID without truth" not in found


def test_the_page_that_compares_two_is_given_lesions_and_every_reference(tmp_path: Path) -> None:
    record = with_further("blur", 20.0, lost=0.5)
    given = compare.overview(GATED, rank([record, with_further("sharp", 30.0)], GATED))
    assert given is not None
    assert given["references"] == ["truth", "label", "coupled"]
    assert given["lesions"] == [*CONDITIONS, "all"]
    assert list(given["observers"]) == ["d' (Hotelling)", "d' (eye)"]
    text = compare.script(tmp_path, GATED, record, {})
    values = json.loads(text[text.index(",") + 1 : text.rindex(")")])["values"]
    assert values["lesions"]["d' (Hotelling)"]["all"][0] == 1.5
    assert values["coupled"]["RMSE"]["lung"][:2] == [21, 12]


def test_words_follow_from_the_interval_alone() -> None:
    assert words_of(value(-0.2)) == "loses lesions"
    assert words_of(value(0.05)) == "no difference seen"
    assert words_of(value(0.2)) == "shows lesions better"
    assert words_of(None) == ""
    assert words_of(msgspec.structs.replace(value(-0.2), low=None, high=None)) == ""


def test_older_records_have_no_further_slices() -> None:
    found = of_record(GATED, scored("old", 1.0, protocol=GATED))
    assert (found.lesions, found.scans, found.coupled) == (None, {}, {})


def test_a_protocols_lists_of_mappings_are_plain_text() -> None:
    assert ("lesions.conditions", "diameter_mm 2, contrast_hu 140; diameter_mm 3, contrast_hu 60; "
            "diameter_mm 12, contrast_hu 25") in plain(GATED.data)  # fmt: skip
