"""A record scored from a folder and audited: the right agrees, the altered differs, the other is refused."""

from __future__ import annotations

import functools
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.base.errors import OutputsError, UsageError
from harness.base.progress import Quiet
from harness.base.slices import read_grey, write_grey
from harness.board.build import rank_all
from harness.dataset.load import load_data
from harness.pipeline.anchors import evaluate_anchors
from harness.pipeline.check_record import check_record
from harness.pipeline.folder import evaluate_folder
from harness.pipeline.prepare import prepare
from harness.protocol import Metric, PhantomData, Protocol, Purify, RankBy, load_protocol
from harness.records.attachments import attachment, open_store
from harness.records.encoding import encode
from harness.records.schema import Record, make_record
from harness.records.slice_table import read_slices, write_slices
from harness.records.store import read_record, record_folder
from harness.reference_check import reference_tools as tools
from harness.reference_check.compare import Comparison
from harness.scoring.attachment_names import FEATURES, SLICES

# clean-fid uses arguments of scipy's that are going
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
METRICS = (
    Metric(name="KID", metric="kernel", features="inception-random"),
    Metric(name="CLIP-FID", metric="frechet", features="clip-random"),
    Metric(name="RMSE", metric="rmse"),
    Metric(name="PSNR", metric="psnr"),
    Metric(name="SSIM", metric="ssim"),
)


@pytest.fixture(scope="module")
def protocol(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Protocol]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield msgspec.structs.replace(
            load_protocol("phantom-mini"),
            data=PhantomData(patients=3, slices=2, size=128),
            purify=Purify(weak_denoiser="nlm"),
            regions=("whole", "lung"),
            metrics=METRICS,
            rank_by=RankBy(metric="KID"),
        )


@pytest.fixture(scope="module", autouse=True)
def _reference_networks_once() -> Iterator[None]:
    """Make each tool's network once: the same at every audit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tools, "network", functools.cache(tools.network))
        yield


@pytest.fixture(scope="module")
def outputs(protocol: Protocol, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody's outputs: normal-dose scans with a little noise."""
    folder = tmp_path_factory.mktemp("outputs")
    for index, case in enumerate(load_data(protocol).cases):
        noise = np.random.default_rng(index).normal(0, 3, (128, 128))
        write_grey(folder / f"{case.name}.png", np.clip(read_grey(Path(case.lq)) + noise, 0, 255).astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def leaderboard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("leaderboard")


@pytest.fixture(scope="module")
def written(protocol: Protocol, outputs: Path, leaderboard: Path) -> Path:
    benchmark = prepare(protocol, Quiet(), leaderboard=leaderboard)
    _, folder = evaluate_folder(outputs, benchmark, Quiet(), slug="mine", keep=True)
    assert folder is not None
    return folder


def test_a_folder_becomes_a_record_that_never_ranks(written: Path, leaderboard: Path, protocol: Protocol) -> None:
    result = read_record(written).result
    assert result.self_reported
    assert (result.status, result.submission.slug) == ("scored", "mine")
    assert set(result.implementations) == {metric.name for metric in METRICS}
    assert "own code" in result.implementations["SSIM"]
    assert "resized as clean-fid does" in result.implementations["KID"]
    ((board, rows),) = rank_all(leaderboard)
    assert board.digest == protocol.digest
    assert [(row.standing, row.rank) for row in rows] == [("unranked", None)]
    assert "self-reported" in rows[0].reason


def test_a_record_is_the_reference_tools_from_its_images(written: Path, outputs: Path) -> None:
    checks = check_record(written, Quiet(), outputs=outputs)
    assert all(one.agrees for one in checks), [one for one in checks if not one.agrees]
    made = {(one.metric, one.region, one.tool, one.of) for one in checks if one.reference == "truth"}
    assert made >= {
        ("KID", "whole", "clean-fid", "images"),
        ("KID", "whole", "torchmetrics", "images"),
        ("KID", "lung", "clean-fid", "the harness's features"),
        ("CLIP-FID", "whole", "torchmetrics", "images"),
        ("RMSE", "lung", "torchmetrics", "images"),
        ("PSNR", "lung", "torchmetrics", "images"),
        ("SSIM", "lung", "scikit-image", "images"),
        ("SSIM", "whole", "pandas", "the record's slices"),
    }
    # and every value that the record has, by the harness itself
    metrics = read_record(written).result.metrics
    anew = {(one.metric, one.region) for one in checks if (one.reference, one.tool) == ("label", "harness")}
    assert anew == {(metric, region) for metric, regions in metrics.items() for region in regions}
    assert {one.reference for one in checks} == {"label", "truth"}


def test_a_record_without_its_images_is_checked_from_its_features(written: Path) -> None:
    checks = check_record(written, Quiet())
    assert all(one.agrees for one in checks)
    origins = {one.of for one in checks if one.metric == "KID" and one.region == "whole"}
    assert origins == {"the record's features and the reference's images"}
    assert not any(one.of == "images" for one in checks)


def test_the_features_of_a_record_can_be_missing(written: Path, leaderboard: Path, tmp_path: Path) -> None:
    """Without them and without the outputs there is nothing to begin from; with a store to fetch them from there is."""
    record = read_record(written)
    here = open_store(leaderboard).get(attachment(record, written, FEATURES))
    there = tmp_path / here.name
    shutil.move(here, there)
    with pytest.raises(UsageError, match=r"its features\.npz is not in"):
        check_record(written, Quiet())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_STORE_READ", str(tmp_path))
        assert all(one.agrees for one in check_record(written, Quiet()))
    assert here.is_file()


def forged(folder: Path, leaderboard: Path, record: Record) -> Path:
    """A copy of a record with another content and digests that fit it: what a verification of digests cannot see."""
    record = make_record(record.result, record.observed)
    target = record_folder(leaderboard, record)
    shutil.copytree(folder, target)
    shutil.copytree(open_store(folder.parents[3]).folder, open_store(leaderboard).folder)
    (target / "record.json").write_bytes(encode(record))
    shutil.copyfile(folder.parent.parent / "protocol.json", target.parent.parent / "protocol.json")
    return target


def test_a_forged_value_differs(written: Path, tmp_path: Path) -> None:
    record = read_record(written)
    metrics = msgspec.to_builtins(record.result.metrics)
    metrics["KID"]["whole"]["value"] *= 0.9
    metrics["SSIM"]["lung"]["value"] += 0.01
    better = msgspec.convert(msgspec.to_builtins(record.result) | {"metrics": metrics}, type(record.result))

    def differing(checks: list[Comparison]) -> set[tuple[str, str, str]]:
        return {(one.reference, one.metric, one.region) for one in checks if not one.agrees}

    folder = forged(written, tmp_path, msgspec.structs.replace(record, result=better))
    assert differing(check_record(folder, Quiet())) == {
        ("label", "KID", "whole"),
        ("label", "SSIM", "lung"),
    }


def test_a_forged_interval_differs_where_the_outputs_are_at_hand(written: Path, outputs: Path, tmp_path: Path) -> None:
    """No reference tool has intervals: the harness computes them anew."""
    record = read_record(written)
    metrics = msgspec.to_builtins(record.result.metrics)
    metrics["RMSE"]["lung"]["low"] -= 1
    narrow = msgspec.convert(msgspec.to_builtins(record.result) | {"metrics": metrics}, type(record.result))
    folder = forged(written, tmp_path, msgspec.structs.replace(record, result=narrow))
    (differs,) = (one for one in check_record(folder, Quiet(), outputs=outputs) if not one.agrees)
    assert (differs.metric, differs.region, differs.tool) == ("RMSE", "lung", "harness")
    assert differs.ours == pytest.approx(differs.theirs, rel=1e-6)


def test_forged_slices_differ(written: Path, tmp_path: Path) -> None:
    record = read_record(written)
    kind = ("truth", "SSIM", "whole")
    slices = [
        msgspec.structs.replace(one, value=0.5) if (one.reference, one.metric, one.region) == kind else one
        for one in read_slices(record, written)
    ]
    files = record.observed.files | {SLICES: hashlib.sha256(write_slices(slices)).hexdigest()}
    observed = msgspec.structs.replace(record.observed, files=files)
    target = forged(written, tmp_path, msgspec.structs.replace(record, observed=observed))
    (target / SLICES).write_bytes(write_slices(slices))
    differ = [one for one in check_record(target, Quiet()) if not one.agrees]
    assert [(one.reference, one.metric, one.region, one.tool) for one in differ] == [
        ("truth", "SSIM", "whole", "pandas")
    ]


def test_other_outputs_are_refused(written: Path, outputs: Path, tmp_path: Path) -> None:
    shutil.copytree(outputs, tmp_path / "others")
    path = next((tmp_path / "others").glob("*.png"))
    write_grey(path, read_grey(path) // 2)
    with pytest.raises(UsageError, match="the digest of its outputs is"):
        check_record(written, Quiet(), outputs=tmp_path / "others")
    path.unlink()
    with pytest.raises(UsageError, match=path.name):
        check_record(written, Quiet(), outputs=tmp_path / "others")


def test_an_anchor_is_made_anew(protocol: Protocol, tmp_path: Path) -> None:
    slice_ = PhantomData(patients=1, slices=1, size=128)
    only = msgspec.structs.replace(protocol, data=slice_, metrics=METRICS[2:], rank_by=RankBy(metric="RMSE"))
    evaluate_anchors(prepare(only, Quiet(), leaderboard=tmp_path), Quiet())
    (folder,) = tmp_path.glob("records/*/anchor-blur-1/*")
    checks = check_record(folder, Quiet())
    assert all(one.agrees for one in checks)
    assert ("SSIM", "images") in {(one.metric, one.of) for one in checks}


def test_a_folder_that_is_no_set_of_outputs_is_refused(protocol: Protocol, outputs: Path, tmp_path: Path) -> None:
    benchmark = prepare(protocol, Quiet(), leaderboard=tmp_path, writes=False)
    with pytest.raises(UsageError, match="no such folder"):
        evaluate_folder(tmp_path / "none", benchmark, Quiet(), slug="mine", keep=False)
    folder = tmp_path / "outputs"
    shutil.copytree(outputs, folder)
    paths = sorted(folder.glob("*.png"))
    paths[0].unlink()
    write_grey(paths[1], np.zeros((10, 10), np.uint8))
    paths[2].rename(paths[2].with_suffix(".jpg"))
    with pytest.raises(OutputsError, match=r"2 missing.*1 wrong.*10 x 10 pixels.*1 not expected"):
        evaluate_folder(folder, benchmark, Quiet(), slug="mine", keep=False)
    assert not list(tmp_path.rglob("protocol.json"))
