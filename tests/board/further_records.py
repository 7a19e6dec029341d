"""Records with the tables of further slices, on a protocol that ranks by the truth in the lung and gates lesions."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.imaging.lesion import Lesion
from harness.protocol import LesionGate, Lesions, Metric, PhantomData, Protocol, RankBy
from harness.records.schema import Record, make_record
from harness.scoring.lesions import ALL, EXACT, EYE, HOTELLING, less_input
from harness.scoring.scans import RANDOM, SYSTEMATIC
from harness.scoring.values import Table, Value
from tests.board_records import PROTOCOL, scored

CONDITIONS = ("2 mm, +140 HU", "3 mm, +60 HU", "12 mm, +25 HU")  # as the protocol lists them: by no alphabet
NOISY = 2.0
"""The noisy input's d' of every condition."""


def _protocol() -> Protocol:
    assert isinstance(PROTOCOL.data, PhantomData)
    lesions = Lesions(
        conditions=(
            Lesion(diameter_mm=2.0, contrast_hu=140.0),
            Lesion(diameter_mm=3.0, contrast_hu=60.0),
            Lesion(diameter_mm=12.0, contrast_hu=25.0),
        )
    )
    return msgspec.structs.replace(
        PROTOCOL,
        version=99,
        data=msgspec.structs.replace(PROTOCOL.data, lesions=lesions),
        metrics=tuple(
            Metric(name=name, metric=metric, features="inception-random" if name == "KID" else None)
            for name, metric in (("KID", "kernel"), ("noise", "noise"), ("RMSE", "rmse"), ("SSIM", "ssim"))
        ),
        rank_by=RankBy(metric="RMSE", region="lung", reference="truth"),
        lesion_gate=LesionGate(margin=0.05),
    )


GATED = _protocol()


def value(number: float, *, higher_is_better: bool | None = False, unit: str = "HU", half: float = 0.1) -> Value:
    """A value of three patients with an interval `half` to either side."""
    without = {patient: number + half * shift for patient, shift in (("p1", -0.2), ("p2", 0.0), ("p3", 0.2))}
    return Value(
        value=number,
        low=number - half,
        high=number + half,
        n=12,
        higher_is_better=higher_is_better,
        unit=unit,
        without=without,
    )


def lesion_table(lost: float) -> Table:
    """Observers x conditions whose d' is `lost` below the noisy input's, the smallest lesion's twice as much."""
    by = dict(zip((*CONDITIONS, ALL), (2 * lost, 0.5 * lost, 0.5 * lost, lost), strict=True))
    table: Table = {}
    for metric in (HOTELLING, EYE):
        table[metric] = {name: value(NOISY - off, higher_is_better=True, unit="") for name, off in by.items()}
        table[less_input(metric)] = {name: value(-off, higher_is_better=True, unit="") for name, off in by.items()}
    table[EXACT] = {name: value(NOISY - by[name], higher_is_better=None, unit="", half=0.3) for name in CONDITIONS}
    return table


def with_further(slug: str, rmse: float, *, lost: float = 0.0, protocol: Protocol = GATED, **submission: Any) -> Record:
    """A record with that RMSE against the truth in the lung, and twice as much in the whole image; d' is `lost` below
    the noisy input's."""
    result = scored(slug, rmse / 10, protocol=protocol, **submission).result
    errors = {"whole": value(2 * rmse), "lung": value(rmse)}
    noise = {"whole": value(rmse / 2, higher_is_better=None), "lung": value(rmse / 3, higher_is_better=None)}
    further = {
        "lesions": lesion_table(lost),
        "scans": {
            SYSTEMATIC: {"whole": value(rmse / 4), "lung": value(rmse / 5)},
            RANDOM: {"whole": value(rmse), "lung": value(rmse / 2)},
        },
        "coupled": {"RMSE": {"whole": value(2 * rmse + 3), "lung": value(rmse + 1)}},
    }
    result = msgspec.structs.replace(
        result,
        metrics=result.metrics | {"RMSE": {name: value(one.value + 5) for name, one in errors.items()}, "noise": noise},
        truth=(result.truth or {}) | {"RMSE": errors},
        further=further,
    )
    return make_record(result, scored(slug, 1.0).observed)
