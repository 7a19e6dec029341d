"""What a protocol may rank and gate by is what its data hold."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from harness.base.errors import UsageError
from harness.imaging.insertion import Scanner
from harness.imaging.lesion import Lesion
from harness.protocol import Coupled, LesionGate, Lesions, Metric, RankBy, ScansData, load_protocol
from harness.scoring.score import load_extractors

COUPLED = Coupled(scanner=Scanner(photons=1000.0, electronic=5.0, kernel="ramp"), dose=0.02)


@pytest.mark.parametrize(
    ("protocol", "changes", "complaint"),
    [
        ("patient-uldct", {"rank_by": RankBy(metric="RMSE", reference="truth")}, "come without truth"),
        ("phantom-hu", {"data": ScansData(path="scans")}, "data of source scans come without truth"),
        ("phantom-mini", {"rank_by": RankBy(metric="RMSE", reference="coupled")}, "the protocol has no coupled"),
        (
            "phantom-mini",
            {"rank_by": RankBy(metric="PSNR", reference="coupled"), "coupled": COUPLED},
            r"rank_by\.metric is PSNR, but against coupled noise there is RMSE alone",
        ),
        ("phantom-mini", {"lesion_gate": LesionGate()}, "its data have no lesions"),
        ("patient-uldct", {"lesion_gate": LesionGate()}, "its data have no lesions"),
    ],
)
def test_what_the_data_do_not_hold_ranks_nothing(protocol: str, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=f"protocol {protocol}: .*{complaint}") as caught:
        load_extractors(msgspec.structs.replace(load_protocol(protocol), **changes), device="cpu")
    assert caught.value.fix


def test_ranking_by_truth_and_by_lesions_is_accepted_where_the_data_hold_them() -> None:
    protocol = load_protocol("phantom-mini")
    lesions = Lesions(conditions=(Lesion(diameter_mm=2, contrast_hu=140),))
    changed = msgspec.structs.replace(
        protocol,
        data=msgspec.structs.replace(protocol.data, lesions=lesions),
        metrics=(Metric(name="RMSE", metric="rmse"),),
        rank_by=RankBy(metric="RMSE", reference="truth"),
        lesion_gate=LesionGate(),
    )
    assert not load_extractors(changed, device="cpu")
    coupled = msgspec.structs.replace(changed, coupled=COUPLED, rank_by=RankBy(metric="RMSE", reference="coupled"))
    assert not load_extractors(coupled, device="cpu")
