from __future__ import annotations

import msgspec

from harness.board.ranking import rank
from harness.board.words import (
    compared_against,
    conditions,
    lesion_gate,
    names_in,
    ranked_by,
    ranking_places,
    ranks_as_first,
    split_lesions,
    table_of,
)
from harness.protocol import LesionGate, RankBy
from tests.board.further_records import CONDITIONS, GATED, with_further
from tests.board_records import PROTOCOL, scored


def test_what_ranks_is_said_with_its_reference_where_it_is_not_the_label() -> None:
    assert ranked_by(PROTOCOL) == "KID, whole"
    assert ranked_by(GATED) == "RMSE, lung, against the truth"
    coupled = msgspec.structs.replace(GATED, rank_by=RankBy(metric="RMSE", region="body", reference="coupled"))
    assert ranked_by(coupled) == "RMSE, body, against its own kept noise, without truth"


def test_the_gate_is_said_with_its_observer_and_its_margin() -> None:
    assert lesion_gate(PROTOCOL) == ""
    assert "channelized Hotelling observer" in lesion_gate(GATED)
    assert lesion_gate(GATED).endswith("lies beyond 5 % of the noisy input's d', or the difference itself beyond 10 %.")
    by_eye = lesion_gate(msgspec.structs.replace(GATED, lesion_gate=LesionGate(observer="eye")))
    assert "eye filter" in by_eye
    assert by_eye.endswith("lies below zero.")


def test_a_board_without_further_tables_is_of_the_first_kind() -> None:
    plain = rank([scored("tv", 1.0)], PROTOCOL)
    assert ranks_as_first(PROTOCOL, plain)
    assert not ranks_as_first(GATED, rank([], GATED))
    by_label = msgspec.structs.replace(GATED, rank_by=RankBy(metric="KID"), lesion_gate=None)
    assert not ranks_as_first(by_label, rank([with_further("tv", 30.0, protocol=by_label)], by_label))


def test_what_ranks_comes_first_among_the_references() -> None:
    rows = rank([with_further("tv", 30.0)], GATED)
    assert compared_against(GATED, rows) == ["truth", "label", "coupled"]
    assert compared_against(PROTOCOL, rank([scored("tv", 1.0)], PROTOCOL)) == ["label", "truth"]


def test_the_ranking_has_the_parts_of_the_error_in_the_region_that_ranks() -> None:
    (row,) = rank([with_further("tv", 30.0)], GATED)
    found = {place.title: value.value for place in ranking_places(GATED, [row]) if (value := place.of(row.record))}
    assert found == {"RMSE": 30.0, "systematic error": 6.0, "random error": 15.0, "error without truth": 31.0}
    plain = rank([scored("tv", 1.0)], PROTOCOL)
    assert [place.title for place in ranking_places(PROTOCOL, plain)] == ["KID"]
    coupled = msgspec.structs.replace(GATED, rank_by=RankBy(metric="RMSE", region="lung", reference="coupled"))
    assert [place.reference for place in ranking_places(coupled, [row])] == ["coupled", "scans", "scans"]


def test_conditions_stand_as_the_protocol_lists_them_the_mean_last() -> None:
    table = table_of(with_further("tv", 30.0), "lesions")
    assert conditions(GATED, table) == [*CONDITIONS, "all"]
    assert conditions(PROTOCOL, table) == [*sorted(CONDITIONS), "all"]  # a protocol that lists none
    assert conditions(GATED, {}) == []
    assert set(names_in(GATED, "lesions")) == set(table)


def test_words_on_lesions_part_into_verdict_and_numbers() -> None:
    assert split_lesions("keeps lesions (d' -0.03, -0.08 to +0.02)") == ("keeps lesions", "d' -0.03, -0.08 to +0.02")
    assert split_lesions("") == ("", "")
