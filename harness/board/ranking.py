"""Which records rank, in which order, and why the others do not. Pure: records and a protocol in, rows out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from harness.base.digests import digest_json
from harness.base.structs import Strict
from harness.board.lesion_gate import lesions_of, unjudged
from harness.protocol import PhantomData, Protocol, Reference
from harness.records.agreement import agree
from harness.records.schema import Record
from harness.scoring.values import Value
from harness.statistics import Replicates, distinguishable, tiers

REASON_LENGTH = 200
Standing = Literal["ranked", "anchor", "unranked"]
AGAINST: dict[Reference, str] = {
    "label": "the label",
    "truth": "the truth",
    "coupled": "its own kept noise, without truth",
}
"""What values are computed against, in few words."""


class Row(Strict, frozen=True, kw_only=True):
    """One line of a board: the record, where it stands, and the reason when it has no rank.

    Submissions that share a `tier` cannot be told apart from the first of the tier; None where the records hold too
    little to tell. `signed_by` names the organiser who signed the record, "" if no signature counts; None where the
    leaderboard lists no signers. `twin` is an earlier ranked record of the same outputs and, within tolerance, the same
    values, if there is one. `lesions` says in plain words what the record does to lesions, "" where that was not
    measured; rows with `loses_lesions`, of a protocol with a lesion gate, rank below all others and are never in the
    first tier.
    """

    record: Record
    standing: Standing
    rank: int | None = None
    tier: int | None = None
    reason: str = ""
    signed_by: str | None = None
    withdrawn: bool = False
    twin: Record | None = None
    lesions: str = ""
    loses_lesions: bool = False

    @property
    def compared(self) -> Record:
        """The record whose values stand for this row's wherever rows are compared.

        Equal outputs have equal values; scored on two machines, their last digits may differ. Where more differs, one
        of the records is wrong, and it must neither borrow the other's values nor lend it its own.
        """
        return self.twin or self.record


def rank(
    records: Iterable[Record], protocol: Protocol, withdrawn: Mapping[str, str] | None = None, *, now: str = "9999"
) -> list[Row]:
    """Rows of one protocol version: ranked ones first in order, then anchors, then unranked ones with their reason.

    Values on different data or labels are not comparable: records whose digests are not those of the protocol's
    official test set do not rank; nor, where the protocol has none, those that differ from the majority's.
    Each submission is represented by its newest scored record, one on the official test set before any other, and by a
    failed one only if that is newer. Equal values share a rank, and so do equal outputs, whatever machine scored them,
    as long as their values agree (`harness.records.agreement`). Under a lesion gate those that keep lesions come first,
    then those that lose them, each in the order of their values. `withdrawn` maps the ids of withdrawn records to the
    reason: they are shown, and the newest of the others represents the submission. A record that is dated after `now`
    counts as older than all others, or nothing that follows could take its place.
    """
    withdrawn = withdrawn or {}
    given = list(records)
    current = _current((one for one in given if one.id not in withdrawn), protocol, now)
    test_set = _test_set(current, protocol)
    rows = [_place(record, protocol, test_set) for record in current]
    rows += [
        Row(record=one, standing="unranked", reason=f"withdrawn: {withdrawn[one.id]}", withdrawn=True)
        for one in given
        if one.id in withdrawn
    ]
    ranked = [row for row in rows if row.standing == "ranked"]
    twin_of = twins(row.record for row in ranked)
    ranked = [_with_lesions(msgspec.structs.replace(row, twin=twin_of.get(row.record.id)), protocol) for row in ranked]
    ranked.sort(key=lambda row: _key(row, protocol))
    rest = sorted(
        (_with_lesions(row, protocol) for row in rows if row.standing != "ranked"),
        key=lambda row: (row.standing != "anchor", row.record.result.submission.slug, row.record.observed.date),
    )
    placed: list[Row] = []
    for position, row in enumerate(ranked, start=1):
        tie = placed and _key(placed[-1], protocol)[:2] == _key(row, protocol)[:2]
        number = placed[-1].rank if tie else position
        placed.append(msgspec.structs.replace(row, rank=number))
    return _with_tiers(placed, protocol) + rest


def _with_tiers(rows: list[Row], protocol: Protocol) -> list[Row]:
    """Rows with their tiers by paired differences of the ranking value (`harness.statistics.tiers`).

    No tier joins rows that keep lesions with rows that lose them, whose tiers begin with 2 even where nobody keeps any.
    """
    found: dict[str, Replicates] = {}
    ranks: dict[str, int] = {}
    for row in rows:
        value, slug = ranking_value(row.compared, protocol), _slug(row)
        if value is None or row.rank is None or not value.without:
            return rows
        found[slug] = replicates_of(value)
        ranks[slug] = row.rank
    apart = distinguishable(found)
    tier_of: dict[str, int] = {}
    first = 1
    for loses in (False, True):
        group = {slug: ranks[slug] for slug in (_slug(row) for row in rows if row.loses_lesions == loses)}
        joined = tiers(group, lambda one, other: frozenset((one, other)) not in apart)
        tier_of |= {slug: number for number, slugs in enumerate(joined, start=first) for slug in slugs}
        first = max(2, first + len(joined))
    return [msgspec.structs.replace(row, tier=tier_of[_slug(row)]) for row in rows]


def ranking_value(record: Record, protocol: Protocol) -> Value | None:
    """The value that a protocol ranks by, if the record has it."""
    by = protocol.rank_by
    return record.result.table(by.reference).get(by.metric, {}).get(by.region)


def comparable(rows: Sequence[Row], protocol: Protocol) -> list[Row]:
    """The scored rows on the data and labels that rank, without withdrawn ones.

    Any difference between these, ranked or not, comes from their outputs.
    """
    scored = [row for row in rows if row.record.result.status == "scored" and not row.withdrawn]
    test_set = _test_set([row.record for row in scored], protocol)
    return [
        row
        for row in scored
        if (row.record.result.data, row.record.result.labels) == test_set
        and row.record.result.protocol.digest == protocol.digest
    ]


def replicates_of(value: Value) -> Replicates:
    """The replicates of a recorded value, from which paired differences are computed."""
    return Replicates(value=value.value, n=value.n, without=value.without)


def _current(records: Iterable[Record], protocol: Protocol, now: str) -> list[Record]:
    """The record that represents each submission, and a failed one beside it if that is newer."""
    official = _official_test_set(protocol)

    def age(record: Record) -> tuple[bool, str]:
        return record.observed.date <= now, record.observed.date

    def standing(record: Record) -> tuple[bool, tuple[bool, str]]:
        # a run on a machine that makes other bytes must not take the place of a row that ranks
        return (record.result.data, record.result.labels) == official, age(record)

    scored: dict[str, Record] = {}
    failed: dict[str, Record] = {}
    for record in records:
        newest = scored if record.result.status == "scored" else failed
        slug = record.result.submission.slug
        if slug not in newest or standing(newest[slug]) <= standing(record):
            newest[slug] = record
    later = [record for slug, record in failed.items() if slug not in scored or age(scored[slug]) < age(record)]
    return [*scored.values(), *later]


def _scored_from(record: Record) -> str:
    """Digest of what the values of a test set are computed from: the outputs and the extractors' weights."""
    weights = {name: facts.weights for name, facts in record.result.extractors.items()}
    return digest_json([record.result.outputs, weights])


def twins(records: Iterable[Record]) -> dict[str, Record]:
    """By id, the records of which another has the same outputs and, within tolerance, the same values: that one, the
    oldest of its kind."""
    firsts: dict[str, list[Record]] = {}
    found = {}
    for record in sorted(records, key=lambda one: (one.observed.date, one.id)):
        of_same = firsts.setdefault(_scored_from(record), [])
        twin = next((one for one in of_same if agree(one.result, record.result)), None)
        if twin is None:
            of_same.append(record)
        else:
            found[record.id] = twin
    return found


def _official_test_set(protocol: Protocol) -> tuple[str, str] | None:
    """Digests of a protocol's official data and labels, if it has any."""
    official = protocol.official_labels
    return None if official is None else (official.data, official.labels)


def _test_set(records: list[Record], protocol: Protocol) -> tuple[str, str] | None:
    """Digests of the data and labels that rank: the protocol's official ones, or else those that most scored records
    share, the newest ones where equally many do."""
    official = _official_test_set(protocol)
    if official is not None:
        return official
    scored = sorted((one for one in records if one.result.status == "scored"), key=lambda one: one.observed.date)
    counts = Counter((one.result.data, one.result.labels) for one in reversed(scored))
    return counts.most_common(1)[0][0] if counts else None


def _place(record: Record, protocol: Protocol, test_set: tuple[str, str] | None) -> Row:
    result = record.result
    reason = ""
    if result.failure is not None:
        said = result.failure.message.partition("\n")[0]
        said = said if len(said) <= REASON_LENGTH else said[: REASON_LENGTH - 1] + "…"  # all of it is in the record
        reason = f"{result.status} at stage {result.failure.stage}: {said}"
    elif result.protocol.digest != protocol.digest:
        reason = "scored under a different text of this protocol version: run it again"
    elif (result.data, result.labels) != test_set:
        reason = _other_test_set(result.data, protocol)
    elif result.flags:
        reason = f"flagged: {'; '.join(result.flags)}"
    elif result.submission.anchor:
        return Row(record=record, standing="anchor", reason="reference row")
    elif result.self_reported:
        reason = "self-reported: the outputs were handed in; the harness did not run the submission"
    elif protocol.rank_by.reference == "label" and protocol.purify.is_circular(
        result.submission.slug, result.submission.family
    ):
        reason = f"circular: of the same family as the labels' weak denoiser ({protocol.purify.weak_denoiser})"
    elif result.gate is not None and not result.gate.passed:
        gate = result.gate
        reason = (
            f"fidelity gate: {gate.metric} ({gate.region}, against the {gate.reference}) "
            f"{gate.value:.4g} exceeds {gate.bound:.4g}"
        )
    elif ranking_value(record, protocol) is None:
        by = protocol.rank_by
        reason = f"has no {by.metric} in the region {by.region}, against {AGAINST[by.reference]}"
    else:
        reason = unjudged(record, protocol)
    return Row(record=record, standing="unranked" if reason else "ranked", reason=reason)


def _other_test_set(data: str, protocol: Protocol) -> str:
    """Why values on that test set do not rank, and what to do: the record does not say what made it other."""
    official = protocol.official_labels
    if official is None:
        return (
            "scored on other data or labels than most rows: run it again with the version of the harness, or on the "
            "machine, that made theirs"
        )
    what = "labels" if data == official.data else "data"
    phantom = isinstance(protocol.data, PhantomData)
    fix = "harness data import brings those, then run it again" if phantom else "run it again on those"
    return f"scored on other {what} than the official ones: {fix}"


def _with_lesions(row: Row, protocol: Protocol) -> Row:
    """The row with what is said of its lesions; a gate judges only rows that it may rank."""
    found = lesions_of(row.compared, protocol)
    if found is None:
        return row
    loses = protocol.lesion_gate is not None and row.standing == "ranked" and found.said == "loses lesions"
    return msgspec.structs.replace(row, lesions=str(found), loses_lesions=loses)


def _key(row: Row, protocol: Protocol) -> tuple[bool, float, str]:
    value = ranking_value(row.compared, protocol)
    assert value is not None  # _place ranks no record without it
    return row.loses_lesions, (-value.value if value.higher_is_better else value.value), _slug(row)


def _slug(row: Row) -> str:
    return row.record.result.submission.slug
