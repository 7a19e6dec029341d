"""A record scored from a folder and audited: the right agrees, the altered differs, the other is refused."""

from __future__ import annotations

import functools
import gzip
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.base.digests import digest_file, digest_json
from harness.base.errors import OutputsError, UsageError
from harness.base.slices import read_grey, write_grey
from harness.base.structs import read_json
from harness.board.build import rank_all
from harness.dataset.load import load_data
from harness.pipeline.evaluate import audit, evaluate_anchors, evaluate_folder
from harness.protocol import Metric, PhantomData, Protocol, Purify, RankBy, load_protocol
from harness.records.schema import Record
from harness.records.store import read_record
from harness.reference_check import tools
from harness.reference_check.check import Check

# clean-fid uses arguments of scipy's that are going
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
METRICS = (
    Metric(name="KID", metric="kernel", features="inception-random"),
    Metric(name="CLIP-FID", metric="frechet", features="clip-random"),
    Metric(name="RMSE", metric="rmse"),
    Metric(name="PSNR", metric="psnr"),
    Metric(name="SSIM", metric="ssim"),
)


class Quiet:
    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int], None]]:
        del name
        yield lambda _done, _total: None

    def note(self, text: str) -> None:
        del text


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
    _, folder = evaluate_folder(outputs, protocol, reporter=Quiet(), leaderboard=leaderboard, slug="mine", keep=True)
    assert folder is not None
    return folder


def test_a_folder_becomes_a_record_that_never_ranks(written: Path, leaderboard: Path, protocol: Protocol) -> None:
    result = read_record(written).result
    assert result.self_reported
    assert (result.status, result.submission.slug) == ("scored", "mine")
    assert set(result.implementations) == {metric.name for metric in METRICS}
    assert "torchmetrics" in result.implementations["SSIM"]
    assert "resized as clean-fid does" in result.implementations["KID"]
    ((board, rows),) = rank_all(leaderboard)
    assert board.digest == protocol.digest
    assert [(row.standing, row.rank) for row in rows] == [("unranked", None)]
    assert "self-reported" in rows[0].reason


def test_a_record_is_the_reference_tools_from_its_images(written: Path, outputs: Path) -> None:
    checks = audit(written, Quiet(), outputs=outputs)
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
    assert {one.reference for one in checks} == {"label", "truth"}


def test_a_record_without_its_images_is_checked_from_its_features(written: Path) -> None:
    checks = audit(written, Quiet())
    assert all(one.agrees for one in checks)
    origins = {one.of for one in checks if one.metric == "KID" and one.region == "whole"}
    assert origins == {"the record's features and the reference's images"}
    assert not any(one.of == "images" for one in checks)


def forged(folder: Path, leaderboard: Path, change: Callable[[Record], Record]) -> Path:
    """A copy of a record with another content and digests that fit it: what a verification of digests cannot see."""
    record = change(read_json(folder / "record.json", Record))
    plain = msgspec.to_builtins(record)
    target = leaderboard / "records" / folder.parent.parent.name / "forged" / digest_json(plain["result"])[:16]
    shutil.copytree(folder, target)
    (target / "record.json").write_text(json.dumps(plain | {"id": target.name}))
    shutil.copyfile(folder.parent.parent / "protocol.json", target.parent.parent / "protocol.json")
    read_record(target)
    return target


def test_a_forged_value_differs(written: Path, tmp_path: Path) -> None:
    def better(record: Record) -> Record:
        metrics = json.loads(json.dumps(msgspec.to_builtins(record.result.metrics)))
        metrics["KID"]["whole"]["value"] *= 0.9
        metrics["SSIM"]["lung"]["value"] += 0.01
        result = msgspec.convert(msgspec.to_builtins(record.result) | {"metrics": metrics}, type(record.result))
        return msgspec.structs.replace(record, result=result)

    def differing(checks: list[Check]) -> set[tuple[str, str, str]]:
        return {(one.reference, one.metric, one.region) for one in checks if not one.agrees}

    folder = forged(written, tmp_path, better)
    assert differing(audit(folder, Quiet())) == {
        ("label", "KID", "whole"),
        ("label", "SSIM", "lung"),
    }


def test_forged_slices_differ(written: Path, tmp_path: Path) -> None:
    def others(record: Record) -> Record:
        text = gzip.decompress((written / "slices.csv.gz").read_bytes()).decode().splitlines()
        altered = [line.rsplit(",", 1)[0] + ",0.5" if ",truth,SSIM,whole," in line else line for line in text]
        (tmp_path / "slices.csv.gz").write_bytes(gzip.compress("\n".join(altered).encode()))
        files = record.observed.files | {"slices.csv.gz": digest_file(tmp_path / "slices.csv.gz")}
        return msgspec.structs.replace(record, observed=msgspec.structs.replace(record.observed, files=files))

    folder = written
    target = tmp_path / "records" / folder.parent.parent.name / "forged" / folder.name
    shutil.copytree(folder, target)
    record = others(read_json(folder / "record.json", Record))
    shutil.copyfile(tmp_path / "slices.csv.gz", target / "slices.csv.gz")
    (target / "record.json").write_bytes(msgspec.json.encode(record))
    shutil.copyfile(folder.parent.parent / "protocol.json", target.parent.parent / "protocol.json")
    differ = [one for one in audit(target, Quiet()) if not one.agrees]
    assert [(one.reference, one.metric, one.region, one.tool) for one in differ] == [
        ("truth", "SSIM", "whole", "pandas")
    ]


def test_other_outputs_are_refused(written: Path, outputs: Path, tmp_path: Path) -> None:
    shutil.copytree(outputs, tmp_path / "others")
    path = next((tmp_path / "others").glob("*.png"))
    write_grey(path, read_grey(path) // 2)
    with pytest.raises(UsageError, match="its outputs digest to"):
        audit(written, Quiet(), outputs=tmp_path / "others")
    path.unlink()
    with pytest.raises(UsageError, match=path.name):
        audit(written, Quiet(), outputs=tmp_path / "others")


def test_an_anchor_is_made_anew(protocol: Protocol, tmp_path: Path) -> None:
    slice_ = PhantomData(patients=1, slices=1, size=128)
    only = msgspec.structs.replace(protocol, data=slice_, metrics=METRICS[2:], rank_by=RankBy(metric="RMSE"))
    evaluate_anchors(only, leaderboard=tmp_path, reporter=Quiet())
    (folder,) = tmp_path.glob("records/*/anchor-blur-1/*")
    checks = audit(folder, Quiet())
    assert all(one.agrees for one in checks)
    assert ("SSIM", "images") in {(one.metric, one.of) for one in checks}


def test_a_folder_that_is_no_set_of_outputs_is_refused(protocol: Protocol, outputs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        evaluate_folder(tmp_path / "none", protocol, reporter=Quiet(), leaderboard=tmp_path, slug="mine", keep=False)
    folder = tmp_path / "outputs"
    shutil.copytree(outputs, folder)
    paths = sorted(folder.glob("*.png"))
    paths[0].unlink()
    write_grey(paths[1], np.zeros((10, 10), np.uint8))
    paths[2].rename(paths[2].with_suffix(".jpg"))
    with pytest.raises(OutputsError, match=r"2 missing.*1 wrong.*10 x 10 pixels.*1 not expected"):
        evaluate_folder(folder, protocol, reporter=Quiet(), leaderboard=tmp_path, slug="mine", keep=False)
