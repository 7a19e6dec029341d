from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.board.ranking import comparable, rank, twins
from harness.protocol import OfficialSet
from harness.records.schema import Record, make_record
from tests.board_records import PROTOCOL, failed, observed, scored


def standings(*records: object) -> list[tuple[str, str, int | None]]:
    rows = rank(records, PROTOCOL)  # type: ignore[arg-type]
    return [(row.record.result.submission.slug, row.standing, row.rank) for row in rows]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=8))
def test_rank_follows_the_value_and_ties_share_it(kids: list[float]) -> None:
    rows = rank([scored(f"s{index}", kid) for index, kid in enumerate(kids)], PROTOCOL)
    values = [row.record.result.metrics["KID"]["whole"].value for row in rows]
    assert values == sorted(values)
    for row, kid in zip(rows, values, strict=True):
        assert row.rank == 1 + sum(other < kid for other in values)


def test_higher_is_better_turns_the_order() -> None:
    protocol = msgspec.structs.replace(PROTOCOL, rank_by=msgspec.structs.replace(PROTOCOL.rank_by, metric="SSIM"))
    records = []
    for slug, ssim in (("low", 0.1), ("high", 0.9)):
        result = scored(slug, 1.0, protocol=protocol).result
        better = msgspec.structs.replace(result.metrics["SSIM"]["whole"], value=ssim)
        changed = msgspec.structs.replace(result, metrics=result.metrics | {"SSIM": {"whole": better}})
        records.append(msgspec.structs.replace(scored(slug, 1.0), result=changed))
    assert [row.record.result.submission.slug for row in rank(records, protocol)] == ["high", "low"]


def test_anchors_and_what_may_not_rank_stand_apart_with_a_reason() -> None:
    records = [
        scored("tv", 2.0),
        scored("identity", 0.1, anchor=True),
        scored("nlm", 0.2, family=("cnn",)),
        scored("sharp", 0.3, gate_passed=False),
        scored("old", 0.4, protocol=msgspec.structs.replace(PROTOCOL, seed=1)),
        failed("broken"),
    ]
    rows = {row.record.result.submission.slug: row for row in rank(records, PROTOCOL)}
    assert (rows["tv"].standing, rows["tv"].rank) == ("ranked", 1)
    assert rows["identity"].standing == "anchor"
    for slug, reason in (
        ("nlm", "circular"), ("sharp", "fidelity gate"), ("old", "different text"), ("broken", "no weights"),
    ):  # fmt: skip
        assert rows[slug].standing == "unranked"
        assert reason in rows[slug].reason
    assert all(row.rank is None for slug, row in rows.items() if slug != "tv")


def test_a_record_from_the_future_hides_no_other() -> None:
    future = scored("tv", 0.1, date="2099-01-01T00:00:00Z")
    newest = scored("tv", 2.0, date="2026-02-01T00:00:00Z")
    oldest = scored("tv", 3.0, date="2026-01-01T00:00:00Z")
    now = "2026-03-01T00:00:00Z"
    for records in ([future, newest, oldest], [oldest, newest, future]):
        assert [row.record.id for row in rank(records, PROTOCOL, now=now)] == [newest.id]
    later = scored("tv", 0.2, date="2099-01-02T00:00:00Z")  # a clock that is behind changes no order
    assert [row.record.id for row in rank([later, future], PROTOCOL, now=now)] == [later.id]


def test_looked_up_answers_do_not_rank_whatever_they_call_themselves() -> None:
    def flagged(record: Record) -> Record:
        flags = ("12 of 12 outputs are bit-equal to the label",)
        return make_record(msgspec.structs.replace(record.result, flags=flags), record.observed)

    records = [scored("tv", 2.0), flagged(scored("cheat", 0.0)), flagged(scored("reference", 0.0, anchor=True))]
    assert standings(*records) == [("tv", "ranked", 1), ("cheat", "unranked", None), ("reference", "unranked", None)]
    assert rank(records, PROTOCOL)[1].reason == "flagged: 12 of 12 outputs are bit-equal to the label"


def test_the_noisy_input_ranks_by_the_gate_alone() -> None:
    record = scored("copy", 1.0)
    noted = make_record(msgspec.structs.replace(record.result, notes=("12 of 12 outputs are",)), record.observed)
    assert standings(noted) == [("copy", "ranked", 1)]


def test_the_newest_scored_record_of_a_submission_stands() -> None:
    old, new = scored("tv", 1.0, date="2026-01-01T00:00:00Z"), scored("tv", 2.0, date="2026-02-01T00:00:00Z")
    assert [row.record.id for row in rank([new, old], PROTOCOL)] == [new.id]


def test_a_failure_stands_only_where_it_is_the_last_word() -> None:
    record = scored("tv", 1.0, date="2026-02-01T00:00:00Z")
    assert standings(record, failed("tv", date="2026-01-01T00:00:00Z")) == [("tv", "ranked", 1)]
    assert standings(record, failed("tv", date="2026-03-01T00:00:00Z")) == [
        ("tv", "ranked", 1),
        ("tv", "unranked", None),
    ]


def test_a_long_message_is_cut_to_its_first_line() -> None:
    result = failed("broken").result
    assert result.failure is not None
    for message, end in (("docker build failed\nStep 1/4", "build failed"), ("x" * 999, "x…")):
        long = msgspec.structs.replace(result, failure=msgspec.structs.replace(result.failure, message=message))
        (row,) = rank([make_record(long, observed())], PROTOCOL)
        assert row.reason.endswith(end)
        assert len(row.reason) < 250


def test_records_on_other_data_do_not_rank_with_the_rest() -> None:
    def with_labels(record: Record, labels: str) -> Record:
        return make_record(msgspec.structs.replace(record.result, labels=labels), record.observed)

    records = [scored("a", 1.0), scored("b", 2.0), with_labels(scored("c", 0.1), "other labels")]
    assert standings(*records) == [("a", "ranked", 1), ("b", "ranked", 2), ("c", "unranked", None)]
    newer = with_labels(scored("d", 3.0, date="2027-01-01T00:00:00Z"), "other labels")
    assert standings(scored("a", 1.0), newer) == [("d", "ranked", 1), ("a", "unranked", None)]  # one each: the newest


def test_where_official_bytes_are_known_they_rank_however_few_records_have_them() -> None:
    def on(record: Record, **digests: str) -> Record:
        return make_record(msgspec.structs.replace(record.result, **digests), record.observed)

    official = OfficialSet(
        name=PROTOCOL.name,
        version=PROTOCOL.version,
        data_recipe=PROTOCOL.data_recipe,
        label_recipe=PROTOCOL.label_recipe,
        data="d" * 64,
        labels="e" * 64,
        slices=(),
    )
    protocol = msgspec.structs.replace(PROTOCOL, official=official)
    others = [on(scored(slug, 0.1), data="other", labels="other") for slug in ("a", "b", "c")]
    right = on(scored("tv", 2.0), data="d" * 64, labels="e" * 64)
    relabelled = on(scored("nlm", 0.2), data="d" * 64, labels="other")
    rows = rank([*others, right, relabelled], protocol)
    assert [(row.record.result.submission.slug, row.rank) for row in rows[:1]] == [("tv", 1)]
    said = {row.record.result.submission.slug: row.reason for row in rows[1:]}
    fix = "harness data import brings those, then run it again"
    assert said == dict.fromkeys("abc", f"scored on other data than the official ones: {fix}") | {
        "nlm": f"scored on other labels than the official ones: {fix}"
    }
    assert {row.record.id for row in comparable(rows, protocol)} == {right.id}
    # a later run of the same submission on a machine that makes other bytes takes no row away
    later = on(scored("tv", 0.1, date="2027-01-01T00:00:00Z"), data="other", labels="e" * 64)
    assert [(row.record.id, row.rank) for row in rank([right, later], protocol)] == [(right.id, 1)]
    # digests of another text of the protocol say nothing of this one
    stale = msgspec.structs.replace(protocol, official=msgspec.structs.replace(official, data_recipe="0" * 64))
    rows = rank([*others, right], stale)
    assert {row.record.result.submission.slug for row in rows if row.rank} == {"a", "b", "c"}
    assert rows[-1].reason.startswith("scored on other data or labels than most rows")


def _with_replicates(slug: str, kid: float, *shifts: float) -> Record:
    """A record whose KID without each patient in turn is off by `shifts`."""
    result = msgspec.structs.replace(scored(slug, kid).result, outputs=f"outputs that give {kid:.3g}")
    without = {f"p{index}": kid + shift for index, shift in enumerate(shifts)}
    value = msgspec.structs.replace(result.metrics["KID"]["whole"], without=without)
    return make_record(msgspec.structs.replace(result, metrics={"KID": {"whole": value}}), observed())


def test_submissions_that_paired_differences_cannot_tell_apart_share_a_tier() -> None:
    # What a patient does to both alike cancels in the difference: a and b differ by 0.1 whoever is left out, though
    # either's own interval is several times as wide. c lies closer to b, but not patient by patient.
    rows = rank(
        [
            _with_replicates("a", 1.0, -0.5, 0.1, 0.4),
            _with_replicates("b", 1.1, -0.5, 0.1, 0.4001),
            _with_replicates("c", 1.15, 0.6, -0.3, -0.3),
        ],
        PROTOCOL,
    )
    assert [(row.record.result.submission.slug, row.tier) for row in rows] == [("a", 1), ("b", 2), ("c", 2)]


@given(st.permutations(["a", "b", "c"]), st.floats(-1e-7, 1e-7))
def test_equal_outputs_share_a_rank_and_a_tier_whatever_machine_scored_them(order: list[str], off: float) -> None:
    """Their last digits differ in the same direction for every patient, which a paired difference would call certain.
    The value of a third one, of other outputs, lies between."""
    of = {
        "a": _with_replicates("a", 1.0, -0.5, 0.1, 0.4),
        "b": _with_replicates("b", 1.0 + off, -0.5, 0.1, 0.4),
        "c": _with_replicates("c", 1.0 + off / 2, -0.5, 0.1, 0.4),
    }
    others = make_record(msgspec.structs.replace(of["c"].result, outputs="others"), of["c"].observed)
    records = [others if slug == "c" else of[slug] for slug in order]
    rows = {row.record.result.submission.slug: row for row in rank(records, PROTOCOL)}
    assert (rows["a"].rank, rows["a"].tier) == (rows["b"].rank, rows["b"].tier)
    first = min(of["a"], of["b"], key=lambda one: one.id)  # their dates are equal
    assert {rows["a"].compared.id, rows["b"].compared.id} == {first.id}
    assert rows["c"].compared is others
    assert all(rows[slug].record is of[slug] for slug in "ab")  # what is shown is what was measured


@pytest.mark.parametrize("date", ["1970-01-01T00:00:00Z", "2026-02-01T00:00:00Z"])
@pytest.mark.parametrize("kid", [0.001, 900.0])
def test_who_claims_the_outputs_of_another_neither_takes_nor_gives_a_rank(kid: float, date: str) -> None:
    """A record whose digest of outputs is copied, with other values: it stands for itself alone, however old it says
    that it is."""
    true, between = scored("true", 1.0), scored("between", 2.0)
    claims = msgspec.structs.replace(scored("claims", kid).result, outputs=true.result.outputs)
    claimed = make_record(claims, observed(date))
    rows = {row.record.result.submission.slug: row for row in rank([true, between, claimed], PROTOCOL)}
    assert all(row.compared is row.record for row in rows.values())
    assert {slug: row.rank for slug, row in rows.items()} == (
        {"claims": 1, "true": 2, "between": 3} if kid < 1 else {"true": 1, "between": 2, "claims": 3}
    )
    honest = make_record(
        msgspec.structs.replace(claims, metrics=true.result.metrics, truth=true.result.truth), observed(date)
    )
    later = max(true, honest, key=lambda one: (one.observed.date, one.id))
    assert twins([true, honest, between]) == {later.id: min(true, honest, key=lambda one: (one.observed.date, one.id))}
    assert twins([true, claimed]) == {}


def test_records_without_replicates_have_no_tiers() -> None:
    rows = rank([_with_replicates("a", 1.0), _with_replicates("b", 2.0, -0.1, 0.1)], PROTOCOL)
    assert [row.tier for row in rows] == [None, None]


def test_what_stands_on_other_labels_or_is_withdrawn_is_compared_with_nothing() -> None:
    a, b, gone = scored("a", 1.0), scored("b", 2.0, family=("cnn",)), scored("gone", 0.1)
    elsewhere = make_record(msgspec.structs.replace(scored("c", 3.0).result, labels="other labels"), observed())
    rows = rank([a, b, gone, elsewhere, failed("broken")], PROTOCOL, {gone.id: "damaged"})
    assert (
        next(row for row in rows if row.record.id == b.id).standing == "unranked"
    )  # circular, but compared all the same
    assert {row.record.id for row in comparable(rows, PROTOCOL)} == {a.id, b.id}


def test_a_withdrawn_record_is_shown_with_its_reason_and_the_one_before_it_stands() -> None:
    old, new = scored("tv", 2.0, date="2026-01-01T00:00:00Z"), scored("tv", 1.0, date="2026-02-01T00:00:00Z")
    other = scored("median", 1.5)
    rows = rank([old, new, other], PROTOCOL, {new.id: "trained on the test set"})
    assert [(row.record.id, row.rank, row.reason) for row in rows] == [
        (other.id, 1, ""),
        (old.id, 2, ""),
        (new.id, None, "withdrawn: trained on the test set"),
    ]


def test_a_withdrawn_record_decides_nothing_about_the_others() -> None:
    """Neither which test set is the common one nor any tier."""

    def with_labels(record: Record, labels: str) -> Record:
        return make_record(msgspec.structs.replace(record.result, labels=labels), record.observed)

    withdrawn = [with_labels(scored(slug, 0.1), "other labels") for slug in ("x", "y", "z")]
    rows = rank([scored("a", 1.0), scored("b", 2.0), *withdrawn], PROTOCOL, {one.id: "damaged" for one in withdrawn})
    assert [(row.record.result.submission.slug, row.standing) for row in rows[:2]] == [("a", "ranked"), ("b", "ranked")]
    assert {row.reason for row in rows[2:]} == {"withdrawn: damaged"}
