"""The study of docs/validity.md: rankings and their agreement, and that what was made once is not made again."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from benchmarks import battery, validity_images
from benchmarks.observer import CONDITIONS
from benchmarks.train import ROOT
from benchmarks.validity import study
from benchmarks.validity_images import denoised, output_path, population, seen
from benchmarks.validity_tables import (
    Scored,
    Study,
    agreement,
    by_metric,
    harm_noticed,
    monotone,
    print_battery,
    print_ladders,
    print_ranks,
)
from harness.protocol import PhantomData, Protocol, load_protocol
from harness.scoring.values import Table, Value

NAMES = ["noisy input", "gaussian 2", "tv", "tv, opened 5 mm"]
DATA = PhantomData(patients=2, slices=1, size=128, seed=4001)


def value(number: float, *, higher: bool | None = False, without: tuple[float, ...] = ()) -> Value:
    parts = {f"p{index}": one for index, one in enumerate(without)}
    return Value(value=number, low=None, high=None, n=4, higher_is_better=higher, unit="", without=parts)


def table(error: float, noise: float, frequency: float | None) -> Table:
    found = {"RMSE": {"whole": value(error, higher=None)}, "noise": {"whole": value(noise, higher=None)}}
    if frequency is not None:
        found["NPS frequency"] = {"whole": value(frequency, higher=None)}
    return found


def made_up() -> Study:
    tables = {
        "noisy input": table(9, 8, 0.3),
        "tv": table(3, 2, 0.1),
        "tv, opened 5 mm": table(4, 0, 0.2),
        "tv, opened 2 mm": table(2, 1, 0.4),
    }
    ideal = Scored(label=table(1, 3, 0.5), truth=table(0, 3, None))
    battery_of = {name: Scored(label=one, truth=one) for name, one in tables.items()}
    return Study(load_protocol("phantom"), battery_of, {"blur": [ideal]}, {})


def test_a_descriptive_value_is_as_bad_as_it_is_far_from_the_truths() -> None:
    assert by_metric(made_up(), "label", "noise", "whole")(None) == [5, 1, 3, 2]


def test_where_the_truth_has_no_value_the_noisy_inputs_is_ideal() -> None:
    found = by_metric(made_up(), "truth", "NPS frequency", "whole")(None)
    assert found == pytest.approx([0, 0.2, 0.1, 0.1])


def test_harm_is_noticed_where_the_spoilt_ranks_below_the_unspoilt() -> None:
    found = made_up()
    assert harm_noticed(found, by_metric(found, "label", "RMSE", "whole")) == "1 of 2"
    assert harm_noticed(found, by_metric(found, "label", "noise", "whole")) == "2 of 2"


def test_agreement_is_kendalls_tau() -> None:
    def ranked(*values: float):  # type: ignore[no-untyped-def]
        return lambda _patient: values

    assert agreement(ranked(1, 2, 3, 4), ranked(10, 20, 30, 40), ["a", "b"], 4) == "1.00 (1.00 to 1.00)"
    assert agreement(ranked(1, 2, 3, 4), ranked(1, 2, 4, 3), [], 4) == "0.67"  # 5 pairs agree, 1 does not
    assert agreement(ranked(1, 1, 1, 1), ranked(1, 2, 4, 3), ["a", "b"], 4) == "–"


def test_a_ladder_counts_the_steps_that_are_worse() -> None:
    steps = [{"RMSE": {"whole": value(number)}} for number in (0, 1, 3, 2, 4)]
    assert monotone(steps, "RMSE", "whole", higher_is_better=False) == "3 of 4"
    assert monotone(steps[:3], "RMSE", "whole", higher_is_better=False) == "yes"
    assert monotone(steps, "RMSE", "lung", higher_is_better=False) == "–"


def test_a_distance_that_the_protocol_only_shows_ranks_here() -> None:
    found = made_up()  # its values say that neither end of RMSE is better
    assert by_metric(found, "label", "RMSE", "whole")(None) == [9, 3, 4, 2]


def of_images() -> Protocol:
    """The phantom's protocol without networks."""
    given = load_protocol("phantom")
    kept = tuple(one for one in given.metrics if one.name in ("RMSE", "noise", "bias"))
    return msgspec.structs.replace(given, metrics=kept)


def test_from_scans_to_tables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    found = study(of_images(), DATA, NAMES)
    print_battery(found)
    print_ranks(found, "label")
    print_ranks(found, "truth")
    print_ladders(found)
    shown = capsys.readouterr().out
    assert all(f"| {name} |" in shown for name in NAMES)
    # against the truth RMSE is one of the truths itself, and notices every step of damage
    assert "| RMSE | whole | 1.00 (1.00 to 1.00) |" in shown
    assert "| RMSE | whole | yes | yes | yes | yes |" in shown
    scores = sorted((tmp_path / "validity" / "scores").iterdir())
    before = [path.stat().st_mtime_ns for path in scores]
    again = study(of_images(), DATA, NAMES)
    assert again.battery == found.battery
    assert [path.stat().st_mtime_ns for path in scores] == before
    assert sorted((tmp_path / "validity" / "scores").iterdir()) == scores


def test_only_what_is_missing_or_changed_is_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    planes = population(msgspec.structs.replace(DATA, patients=1))
    case = planes.dataset.cases[0]
    folders = denoised(planes, ["noisy input", "unet"])
    files = {name: output_path(folder, case) for name, folder in folders.items()}
    assert files["noisy input"].read_bytes() == Path(case.lq).read_bytes()
    looked = seen(planes, folders)
    assert len(looked[0]["unet"]) == len(CONDITIONS)
    sites = [len(absent.hotelling) for absent, _ in looked[0]["unet"]]
    assert sum(sites) == len(planes.sites[case.name]) > 0

    unet = files["unet"].read_bytes()
    files["unet"].write_bytes(b"damaged")
    monkeypatch.setitem(battery.DENOISERS, "noisy input", lambda _image: pytest.fail("made before"))
    assert denoised(planes, ["noisy input", "unet"]) == folders
    assert files["unet"].read_bytes() == unet

    other = tmp_path / "root"
    (other / "submissions").mkdir(parents=True)
    (other / "benchmarks").symlink_to(ROOT / "benchmarks")
    for name in ("unet", "flow"):  # other weights under the old name
        (other / "submissions" / "unet").mkdir(exist_ok=True)
        source = ROOT / "submissions" / name
        (other / "submissions" / "unet" / "weights.safetensors").write_bytes(
            (source / "weights.safetensors").read_bytes()
        )
    (other / "submissions" / "unet" / "model.py").symlink_to(ROOT / "submissions" / "unet" / "model.py")
    monkeypatch.setattr(validity_images, "ROOT", other)
    moved = denoised(planes, ["noisy input", "unet"])
    assert moved["noisy input"] == folders["noisy input"]
    assert moved["unet"] != folders["unet"]
