"""An abdomen through the whole pipeline: imported scans, labels without purification, scores, a container."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.abdomen import write
from harness.base.slices import read_grey, read_image
from harness.engines import Engine
from harness.imaging.regions import shrink
from harness.records.store import read_records
from tests.command import ROOT, Done, harness

NAMES = ["p001-0001", "p002-0001"]


def assert_refused(done: Done, *expected: str) -> None:
    assert done.returncode == 2, done.stderr
    for text in expected:
        assert text in done.stderr


@pytest.fixture(scope="module")
def abdomen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scans of two patients in abdomen/, and abdomen.yaml."""
    root = tmp_path_factory.mktemp("anatomy")
    write(root / "abdomen", patients=2, slices=1, size=128)
    return root


def test_labels_are_the_normal_dose_slices_and_regions_those_of_an_abdomen(abdomen: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    done = harness("labels", "-p", str(abdomen / "abdomen.yaml"), "-o", str(tmp_path / "set"), HARNESS_CACHE=cache)
    assert done.returncode == 0, done.stderr
    assert "may not fit" not in done.stderr
    made = json.loads((tmp_path / "set" / "manifest.json").read_text())["slices"]
    for name in NAMES:
        for kind, source in (("gt_bar", "gt"), ("lq", "lq")):
            image = read_image(tmp_path / "set" / kind / f"{name}.png")
            np.testing.assert_array_equal(image, read_image(abdomen / "abdomen" / source / f"{name}.png"))
        assert made[name]["made"]["quality"] is None  # nothing was purified
        (regions,) = (tmp_path / "cache" / "labels").glob(f"*/regions/{name}.png")
        shown = {region for region, mask in shrink(read_grey(regions)).items() if mask.any()}
        assert shown >= {"whole", "background", "body", "soft", "fat", "bone", "gas", "boundary"}


def test_regions_do_not_hang_on_the_window_that_models_of_8_bits_look_through(abdomen: Path, tmp_path: Path) -> None:
    """A window of soft tissue shows neither air nor bone."""
    text = (abdomen / "abdomen.yaml").read_text()
    (tmp_path / "narrow.yaml").write_text(text.replace('abdomen"}', 'abdomen", window_hu: [-160, 240]}'))
    found = []
    for protocol, cache in ((abdomen / "abdomen.yaml", tmp_path / "one"), (tmp_path / "narrow.yaml", tmp_path / "two")):
        done = harness("labels", "-p", str(protocol), "-o", f"{cache}-set", HARNESS_CACHE=str(cache))
        assert done.returncode == 0, done.stderr
        (path,) = cache.glob(f"labels/*/regions/{NAMES[0]}.png")
        found.append(read_grey(path))
    np.testing.assert_array_equal(found[0], found[1])


def test_pairs_of_two_planes_have_no_label_without_purification(abdomen: Path, tmp_path: Path) -> None:
    data = json.loads((abdomen / "abdomen" / "dataset.json").read_text())
    data["cases"][1]["paired"] = False
    (tmp_path / "abdomen").mkdir()
    (tmp_path / "abdomen" / "dataset.json").write_text(json.dumps(data))
    protocol = (abdomen / "abdomen.yaml").read_text().replace(str(abdomen), str(tmp_path))
    (tmp_path / "abdomen.yaml").write_text(protocol)
    done = harness("labels", "-p", str(tmp_path / "abdomen.yaml"), "-o", str(tmp_path / "set"))
    assert_refused(done, "1 slice shows another plane", NAMES[1], "paired: false", "strategy that purifies")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["labels", "--strategy", "ipv2", "-o", "set"], "anatomy abdomen has no dark organ"),
        (["labels", "--report"], "there is no purification to report on"),
    ],
)
def test_steps_without_a_meaning_are_refused(abdomen: Path, tmp_path: Path, words: list[str], complaint: str) -> None:
    done = harness(*words, "-p", str(abdomen / "abdomen.yaml"), cwd=tmp_path, HARNESS_CACHE=str(tmp_path / "cache"))
    assert_refused(done, complaint)
    assert not (tmp_path / "cache").exists()


def test_a_metric_of_the_lung_is_refused(abdomen: Path, tmp_path: Path) -> None:
    text = (abdomen / "abdomen.yaml").read_text()
    (tmp_path / "lung.yaml").write_text(text.replace("name: bias, metric: bias", "name: V, metric: vessel_contrast"))
    done = harness("score", str(abdomen / "abdomen" / "lq"), "-p", str(tmp_path / "lung.yaml"), cwd=tmp_path)
    assert_refused(done, "metric V (vessel_contrast) is of lung, which anatomy abdomen does not have")


@pytest.mark.engine
def test_a_container_denoises_an_abdomen_and_ranks(engine: Engine, abdomen: Path, tmp_path: Path) -> None:
    assert engine.description
    words = ("run", str(ROOT / "submissions" / "tv"), "-p", str(abdomen / "abdomen.yaml"), "--leaderboard", "board")
    done = harness(*words, cwd=tmp_path, HARNESS_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    (record,) = read_records(tmp_path / "board")
    assert set(record.result.tables["label"]["RMSE"]) == {
        "whole",
        "background",
        "body",
        "soft",
        "fat",
        "bone",
        "gas",
        "boundary",
    }
    board = (tmp_path / "board" / "README.md").read_text()
    assert "Ranked by **RMSE** (soft) against the normal-dose slice." in board
    assert "the same piece of abdomen in every row" in board
