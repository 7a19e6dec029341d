"""The order under a lesion gate, and what ranks by truth or by coupled noise."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.board.ranking import Row, rank
from harness.protocol import LesionGate, Protocol, RankBy, Reference
from harness.records.schema import Record, make_record
from harness.scoring.lesions import ALL, EYE, HOTELLING, less_input
from harness.scoring.values import Table, Value
from tests.board_records import PROTOCOL, observed, scored, value

GATED = msgspec.structs.replace(PROTOCOL, lesion_gate=LesionGate())
INPUT = 1.5  # d' of the noisy input


def lesion_table(difference: float, half: float | None = 0.1, *, eye: float = 0.0) -> Table:
    """d' less the input's of both observers with an interval of this half width."""

    def rows(metric: str, off: float) -> Table:
        def one(number: float) -> Value:
            bounds = (None, None) if half is None else (number - half, number + half)
            return msgspec.structs.replace(value(number, higher_is_better=True), low=bounds[0], high=bounds[1], n=40)

        return {metric: {ALL: one(INPUT + off)}, less_input(metric): {ALL: one(off)}}

    return rows(HOTELLING, difference) | rows(EYE, eye)


def with_lesions(slug: str, kid: float, difference: float, half: float | None = 0.1, **facts: Any) -> Record:
    record = scored(slug, kid, protocol=GATED, **facts)
    result = msgspec.structs.replace(
        record.result, outputs=f"{slug}'s", further={"lesions": lesion_table(difference, half)}
    )
    return make_record(result, record.observed)


def under(protocol: Protocol, record: Record) -> Record:
    """The record as one of this text of its protocol."""
    facts = msgspec.structs.replace(record.result.protocol, digest=protocol.digest)
    return make_record(msgspec.structs.replace(record.result, protocol=facts), observed())


def by_slug(rows: list[Row]) -> dict[str, Row]:
    return {row.record.result.submission.slug: row for row in rows}


def test_who_loses_lesions_ranks_below_all_that_keep_them() -> None:
    rows = rank(
        [
            with_lesions("blurry", 0.1, -0.42),
            with_lesions("faithful", 2.0, -0.03),
            with_lesions("sharp", 3.0, 0.3),
            with_lesions("erased", 0.2, -1.5),
        ],
        GATED,
    )
    assert [(row.record.result.submission.slug, row.rank) for row in rows] == [
        ("faithful", 1), ("sharp", 2), ("blurry", 3), ("erased", 4),
    ]  # fmt: skip
    assert [row.loses_lesions for row in rows] == [False, False, True, True]
    assert [row.lesions for row in rows] == [
        "no loss of lesions shown (d' -0.03, -0.13 to 0.07)",
        "shows lesions better (d' +0.30, 0.20 to 0.40)",
        "loses lesions (d' -0.42, -0.52 to -0.32)",
        "loses lesions (d' -1.50, -1.60 to -1.40)",
    ]


def test_where_nobody_keeps_lesions_there_is_no_first_tier() -> None:
    rows = rank([with_lesions("a", 1.0, -0.4), with_lesions("b", 9.0, -0.4)], GATED)
    assert [(row.rank, row.tier) for row in rows] == [(1, 2), (2, 3)]


def test_equal_values_share_no_rank_or_tier_across_the_gate() -> None:
    rows = by_slug(rank([with_lesions("keeps", 1.0, 0.0), with_lesions("loses", 1.0, -0.4)], GATED))
    assert (rows["keeps"].rank, rows["keeps"].tier) == (1, 1)
    assert (rows["loses"].rank, rows["loses"].tier) == (2, 2)


def test_the_margin_is_a_share_of_the_inputs_own() -> None:
    """0.2 of 1.5: the interval's end of -0.29 lies within, that of -0.31 beyond."""
    protocol = msgspec.structs.replace(PROTOCOL, lesion_gate=LesionGate(margin=0.2))
    for high, loses in ((-0.29, False), (-0.31, True)):
        (row,) = rank([under(protocol, with_lesions("a", 1.0, high - 0.1))], protocol)
        assert (row.loses_lesions, row.rank) == (loses, 1)
        words = "loses lesions" if loses else "some loss of lesions, not surely beyond the margin"
        assert row.lesions.startswith(f"{words} (")


def test_the_gate_asks_the_observer_that_the_protocol_names() -> None:
    protocol = msgspec.structs.replace(PROTOCOL, lesion_gate=LesionGate(observer="eye"))
    record = scored("a", 1.0, protocol=protocol)
    table = lesion_table(0.2, eye=-0.4)
    (row,) = rank(
        [make_record(msgspec.structs.replace(record.result, further={"lesions": table}), observed())], protocol
    )
    assert row.loses_lesions


def test_what_the_gate_cannot_judge_does_not_rank() -> None:
    rows = by_slug(rank([scored("old", 1.0, protocol=GATED), with_lesions("wide", 2.0, -0.4, None)], GATED))
    assert rows["old"].standing == rows["wide"].standing == "unranked"
    assert rows["old"].reason.startswith("lesion gate: it has no outputs of the slices with lesions")
    assert rows["wide"].reason.startswith("lesion gate: d' has no interval")
    assert (rows["old"].lesions, rows["wide"].lesions) == ("", "no verdict on lesions (d' -0.40, no interval)")


def test_without_a_gate_lesions_are_told_and_order_nothing() -> None:
    def plain(record: Record) -> Record:
        facts = msgspec.structs.replace(record.result.protocol, digest=PROTOCOL.digest)
        return make_record(msgspec.structs.replace(record.result, protocol=facts), record.observed)

    rows = rank([plain(with_lesions("a", 1.0, -0.4)), plain(with_lesions("b", 2.0, 0.0)), scored("c", 3.0)], PROTOCOL)
    assert [(row.record.result.submission.slug, row.rank, row.loses_lesions) for row in rows] == [
        ("a", 1, False), ("b", 2, False), ("c", 3, False),
    ]  # fmt: skip
    assert [row.lesions.partition(" (")[0] for row in rows] == ["loses lesions", "no loss of lesions shown", ""]


def test_reference_rows_tell_of_lesions_and_are_not_judged() -> None:
    (row,) = rank([with_lesions("anchor-blur-4", 1.0, -0.4, anchor=True)], GATED)
    assert (row.standing, row.loses_lesions) == ("anchor", False)
    assert row.lesions.startswith("loses lesions")
    (bare,) = rank([scored("anchor-truth", 0.0, protocol=GATED, anchor=True)], GATED)
    assert (bare.standing, bare.lesions) == ("anchor", "")


entries = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([-0.5, -0.2, -0.05, 0.0, 0.3])), min_size=1, max_size=6)


@given(entries, st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_the_order_is_total_and_does_not_depend_on_that_of_the_records(
    given_entries: list[tuple[int, float]], shuffle: Any
) -> None:
    records = [with_lesions(f"s{index}", kid, off) for index, (kid, off) in enumerate(given_entries)]
    rows = rank(records, GATED)
    shuffle.shuffle(records)
    assert rank(records, GATED) == rows

    def place(row: Row) -> tuple[bool, float]:
        return row.loses_lesions, row.record.result.metrics["KID"]["whole"].value

    places = [place(row) for row in rows]
    assert places == sorted(places)
    for row in rows:
        assert row.rank == 1 + sum(other < place(row) for other in places)
        assert row.lesions.startswith("loses") == row.loses_lesions
    kept, lost = ({row.tier for row in rows if row.loses_lesions == loses} for loses in (False, True))
    assert not kept & lost
    assert 1 not in lost
    assert (not kept) or 1 in kept
    tiers = [row.tier for row in rows]
    assert tiers == sorted(tiers, key=lambda tier: tier or 0)


@pytest.mark.parametrize("reference", ["truth", "coupled"])
def test_a_protocol_ranks_by_the_truth_or_by_coupled_noise(reference: Reference) -> None:
    """Against these the labels' weak denoiser is judged as any other is, and the fidelity gate as before."""
    metric = {"truth": "KID", "coupled": "RMSE"}[reference]
    protocol = msgspec.structs.replace(PROTOCOL, rank_by=RankBy(metric=metric, region="lung", reference=reference))

    def record(slug: str, label: float, number: float, **facts: Any) -> Record:
        one = scored(slug, label, protocol=protocol, **facts)
        table = {metric: {"lung": value(number)}}
        changed: dict[str, Any] = {"truth": table} if reference == "truth" else {"further": {"coupled": table}}
        return make_record(msgspec.structs.replace(one.result, outputs=slug, **changed), one.observed)

    records = [
        record("good", 2.0, 0.1, family=(PROTOCOL.purify.weak_denoiser,)),
        record("poor", 1.0, 0.9),
        record("unfaithful", 0.5, 0.05, gate_passed=False),
        scored("bare", 0.1, protocol=protocol),
    ]
    if reference == "truth":
        bare = msgspec.structs.replace(records[-1].result, truth=None)
        records[-1] = make_record(bare, observed())
    rows = rank(records, protocol)
    assert [(row.record.result.submission.slug, row.rank) for row in rows[:2]] == [("good", 1), ("poor", 2)]
    reasons = {slug: row.reason for slug, row in by_slug(rows).items()}
    assert reasons["unfaithful"].startswith("fidelity gate: RMSE (whole, against the truth)")
    said = {"truth": "against the truth", "coupled": "against its own kept noise, without truth"}[reference]
    assert reasons["bare"] == f"has no {metric} in the region lung, {said}"
    # ranked by the label the same one is circular
    by_label = msgspec.structs.replace(protocol, rank_by=RankBy(metric="KID"))
    facts = msgspec.structs.replace(records[0].result.protocol, digest=by_label.digest)
    (row,) = rank([make_record(msgspec.structs.replace(records[0].result, protocol=facts), observed())], by_label)
    assert row.reason.startswith("circular")


def test_an_interval_that_reaches_far_hides_no_great_loss() -> None:
    """Twice the margin of 0.2 x 1.5 is 0.6: -0.59 may be chance, -0.61 bars, however wide the interval."""
    protocol = msgspec.structs.replace(PROTOCOL, lesion_gate=LesionGate(margin=0.2))
    for number, loses, words in ((-0.59, False, "no loss of lesions shown ("), (-0.61, True, "loses lesions (")):
        record = with_lesions("a", 1.0, number, 2.0)
        (row,) = rank([under(protocol, record)], protocol)
        assert row.loses_lesions == loses
        assert row.lesions.startswith(words)
