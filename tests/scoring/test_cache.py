"""Scores are computed once, and anew where anything that they depend on has changed or their file is damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.dataset.cases import FurtherSlice
from harness.features import lazy
from harness.protocol import Metric, load_protocol
from harness.scoring import cache
from harness.scoring.cache import score_once
from harness.scoring.score import Scorecard, score
from tests.picture_set import picture_set

METRICS = tuple(Metric(name=name, metric=name.lower()) for name in ("RMSE", "noise"))


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is scored: six small slices, by metrics that take no time."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    dataset, labels, outputs = picture_set(tmp_path)
    protocol = msgspec.structs.replace(load_protocol("phantom-mini"), metrics=METRICS)
    return {
        "outputs": outputs,
        "dataset": dataset,
        "labels": labels,
        "protocol": protocol,
        "extractors": lazy([]),
        "device": "cpu",
    }


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Scorecard]:
    """The scorecards that were computed, not found."""
    cards: list[Scorecard] = []

    def counted(*given: Any, **more: Any) -> Scorecard:
        cards.append(score(*given, **more))
        return cards[-1]

    monkeypatch.setattr(cache, "score", counted)
    return cards


def test_the_same_outputs_are_scored_once(arguments: dict[str, Any], computed: list[Scorecard]) -> None:
    first, second = score_once(**arguments), score_once(**arguments)
    assert len(computed) == 1
    assert msgspec.msgpack.encode(first) == msgspec.msgpack.encode(second)  # to the last bit


@pytest.mark.parametrize(
    "changed", ["outputs", "dataset", "further", "labels", "protocol", "weights", "device", "code", "libraries"]
)
def test_what_scores_depend_on_makes_them_anew(
    changed: str, arguments: dict[str, Any], computed: list[Scorecard], monkeypatch: pytest.MonkeyPatch
) -> None:
    score_once(**arguments)
    dataset, labels, protocol = (arguments[name] for name in ("dataset", "labels", "protocol"))
    match changed:
        case "outputs":
            first, second, *_ = arguments["outputs"]
            arguments["outputs"] = arguments["outputs"] | {first: arguments["outputs"][second]}
        case "dataset":
            arguments["dataset"] = msgspec.structs.replace(dataset, digest="other")
        case "further":
            one = FurtherSlice(name="again", of=dataset.cases[0].name, kind="again", lq=dataset.cases[1].lq)
            arguments["dataset"] = msgspec.structs.replace(dataset, further=(one,))
        case "labels":
            arguments["labels"] = msgspec.structs.replace(labels, digest="other")
        case "protocol":
            arguments["protocol"] = msgspec.structs.replace(protocol, metrics=METRICS[:1])
        case "weights":
            arguments["extractors"] = lazy(["inception-random"])
        case "device":
            arguments["device"] = "cuda"
        case "code":
            monkeypatch.setattr(cache, "digest_code", lambda *_: "other")
        case _:
            monkeypatch.setattr(cache, "version", lambda _: "other")
    score_once(**arguments)
    assert len(computed) == 2


@pytest.mark.parametrize("damage", [slice(0), slice(-1), slice(1, None)], ids=["empty", "cut off", "shifted"])
def test_a_damaged_scorecard_is_made_again(damage: slice, arguments: dict[str, Any], computed: list[Scorecard]) -> None:
    score_once(**arguments)
    (path,) = (Path(arguments["labels"].folder) / "cache" / "scores").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[damage])
    score_once(**arguments)
    assert len(computed) == 2
    assert path.read_bytes() == whole
