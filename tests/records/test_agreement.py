"""When the values of the same outputs are the same, and what happens where they are not."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.base.errors import UsageError
from harness.records.agreement import OF_WIDTH, RELATIVE, ROUNDING, agree, disagreements, processor_of, tolerance
from harness.records.schema import Record, Result, make_record
from harness.records.store import read_record, write_record
from harness.scoring.attachment_names import FEATURES
from harness.scoring.values import Value
from tests.board_records import observed, scored, value


def with_value(one: Value, *, machine: dict[str, str] | None = None) -> Record:
    """A record of the same outputs whose KID of the whole image is another."""
    result = scored("tv", 1.0).result
    metrics = result.metrics | {"KID": result.metrics["KID"] | {"whole": one}}
    circumstances = msgspec.structs.replace(observed("2027-01-01T00:00:00Z"), machine=machine or {})
    return make_record(msgspec.structs.replace(result, metrics=metrics), circumstances)


def result_of(one: Value) -> Result:
    return with_value(one).result


def moved(one: Value, by: float) -> Value:
    """All numbers of a value moved alike."""
    return msgspec.structs.replace(
        one,
        value=one.value + by,
        low=None if one.low is None else one.low + by,
        high=None if one.high is None else one.high + by,
        without={patient: number + by for patient, number in one.without.items()},
    )


sizes = st.floats(1e-3, 1e3)
signs = st.sampled_from([-1, 1])


@given(number=sizes, width=st.none() | sizes, share=st.floats(0, 0.9), sign=signs)
def test_within_the_tolerance_values_are_the_same_in_either_order(
    number: float, width: float | None, share: float, sign: int
) -> None:
    one = msgspec.structs.replace(
        value(number),
        low=None if width is None else number - width / 2,
        high=None if width is None else number + width / 2,
    )
    assert tolerance(one) == pytest.approx(max(RELATIVE * number, OF_WIDTH * (width or 0)))
    other = moved(one, sign * share * tolerance(one))
    assert disagreements(result_of(one), result_of(other)) == []
    assert disagreements(result_of(other), result_of(one)) == []
    assert agree(result_of(one), result_of(other))


@given(number=sizes, share=st.floats(1.1, 1e3), sign=signs)
def test_beyond_the_tolerance_they_are_not(number: float, share: float, sign: int) -> None:
    one = value(number)
    other = moved(one, sign * share * max(tolerance(one), tolerance(moved(one, sign * share * tolerance(one)))))
    found = disagreements(result_of(one), result_of(other))
    assert not agree(result_of(one), result_of(other))
    assert {(each.metric, each.region, each.reference) for each in found} == {("KID", "whole", "label")}
    assert {each.field for each in found} == {"value", "low", "high", "without p1", "without p2", "without p3"}


def test_a_small_difference_of_large_sums_is_measured_by_its_interval() -> None:
    """KID near zero: its last digits move by far more than 1e-4 of it, and by nothing beside its interval."""
    one = msgspec.structs.replace(value(0.0), value=1e-6, low=-1e-3, high=1e-3, without={})
    assert not disagreements(result_of(one), result_of(msgspec.structs.replace(one, value=1.5e-6)))
    assert disagreements(result_of(one), result_of(msgspec.structs.replace(one, value=5e-6)))


def test_zero_but_for_rounding_is_zero() -> None:
    one = msgspec.structs.replace(value(0.0), value=0.0, low=0.0, high=0.0, without={})
    assert not disagreements(result_of(one), result_of(msgspec.structs.replace(one, value=0.9 * ROUNDING)))
    assert disagreements(result_of(one), result_of(msgspec.structs.replace(one, value=2 * ROUNDING)))


def test_what_only_one_has_is_no_agreement() -> None:
    one = value(1.0)
    for other, field in (
        (msgspec.structs.replace(one, n=11), "n"),
        (msgspec.structs.replace(one, low=None), "low"),
        (msgspec.structs.replace(one, extrapolated=1.0), "extrapolated"),
        (msgspec.structs.replace(one, without={"p1": 0.98, "p2": 1.0}), "without p3"),
    ):
        assert [each.field for each in disagreements(result_of(one), result_of(other))] == [field]
    fewer = msgspec.structs.replace(result_of(one), truth=None)
    assert {each.reference for each in disagreements(result_of(one), fewer)} == {"truth"}
    assert not disagreements(result_of(one), result_of(msgspec.structs.replace(one, without={})))  # schema 1 had none


def test_further_tables_are_compared_as_the_others() -> None:
    def with_error(number: float) -> Result:
        further = {"scans": {"random error": {"lung": value(number)}}}
        return msgspec.structs.replace(scored("tv", 1.0).result, further=further)

    assert not disagreements(with_error(40.0), with_error(40.0 * (1 + 1e-5)))
    found = disagreements(with_error(40.0), with_error(41.0))
    assert {(one.reference, one.metric, one.region) for one in found} == {("scans", "random error", "lung")}
    assert str(found[0]).startswith("random error, lung, of scans: 40, here 41 (may differ by ")
    for first, second in ((with_error(40.0), scored("tv", 1.0).result), (scored("tv", 1.0).result, with_error(40.0))):
        assert [(one.reference, one.field) for one in disagreements(first, second)] == [("scans", "value")]


def test_a_record_with_values_of_another_processor_is_the_same_result(tmp_path: Path) -> None:
    folder, _ = write_record(tmp_path, scored("tv", 1.0), {})
    before = (folder / "record.json").read_bytes()
    other = with_value(moved(value(1.0), 7e-7))
    assert other.content != scored("tv", 1.0).content
    assert write_record(tmp_path, other, {}) == (folder, False)
    assert (folder / "record.json").read_bytes() == before


def test_other_values_of_the_same_outputs_are_refused_with_the_reason_and_nothing_is_written(tmp_path: Path) -> None:
    here = {"cpu": "EPYC", "level": "x86-64-v4", "numpy": "2.4.6", "scipy": "1.17"}
    there = {"cpu": "Xeon", "level": "x86-64-v3", "numpy": "2.3.0", "scipy": "1.17"}
    write_record(tmp_path, with_value(value(1.0), machine=there), {})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError) as caught:
        write_record(tmp_path, with_value(value(1.1), machine=here), {FEATURES: b"features"})
    message = caught.value.message
    for said in (
        "KID, whole, against the label: 1, here 1.1 (may differ by 0.0002)",
        "Xeon, x86-64-v3, here EPYC, x86-64-v4",
        "numpy 2.3.0, here 2.4.6",
    ):
        assert said in message
    assert "scipy" not in message
    assert "nothing was written" in caught.value.fix
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    (folder,) = tmp_path.glob("records/*/tv/*")
    assert read_record(folder).result.metrics["KID"]["whole"].value == 1.0


def test_the_processor_is_said_as_far_as_it_is_known() -> None:
    assert processor_of({}) == "an unknown processor"
    assert processor_of({"cpu": "EPYC", "cores": "2"}) == "EPYC"
    full = {"cpu": "EPYC", "cpu_id": "family 25", "level": "x86-64-v4", "threads": "torch 2, numba 2"}
    assert processor_of(full) == "EPYC, family 25, x86-64-v4, threads: torch 2, numba 2"
