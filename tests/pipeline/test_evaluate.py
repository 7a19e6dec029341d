"""The whole pipeline with the shipped submissions and a real container engine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from harness.base.progress import Progress
from harness.base.slices import read_grey, write_grey
from harness.board.build import check_board, rank_all
from harness.engines import BASE_IMAGE, Engine
from harness.engines.docker import DockerEngine
from harness.pipeline.anchors import evaluate_anchors
from harness.pipeline.evaluate import Evaluation, evaluate
from harness.pipeline.folder import evaluate_folder
from harness.pipeline.prepare import prepare
from harness.protocol import Metric, PhantomData, Protocol, Publish, Purify, RankBy, load_protocol
from harness.records.attachments import attachment, open_store
from harness.records.slice_table import read_slices
from harness.records.store import read_record, read_records
from harness.scoring.attachment_names import FEATURES, PICTURES, SLICES, SPECTRA, STRIP
from harness.submission.manifest import load_submission
from tests.small import small_protocol

pytestmark = pytest.mark.engine
ROOT = Path(__file__).resolve().parents[2]
KINDS = ("input", "output", "label", "truth")


class Quiet:
    """A reporter that remembers the stages."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[Progress]:
        self.stages.append(name)
        yield lambda _done, _total: None

    def step(self, text: str) -> None:
        self.stages.append(text)

    note = step


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def leaderboard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("leaderboard")


@pytest.fixture(scope="module")
def protocol() -> Protocol:
    small = PhantomData(patients=3, slices=2, size=128)
    return msgspec.structs.replace(load_protocol("phantom-mini"), data=small, purify=Purify(weak_denoiser="nlm"))


@pytest.fixture(scope="module")
def run(engine: Engine, cache: Path, leaderboard: Path, protocol: Protocol) -> Callable[..., Evaluation]:
    assert cache.is_dir()

    def run(folder: Path, reporter: Quiet | None = None, *, fresh: bool = False) -> Evaluation:
        reporter = reporter or Quiet()
        benchmark = prepare(protocol, reporter, leaderboard=leaderboard, engine=engine)
        return evaluate(load_submission(folder), benchmark, engine=engine, reporter=reporter, fresh=fresh)

    return run


def test_a_submission_becomes_a_record_and_a_row(
    run: Callable[..., Evaluation], leaderboard: Path, protocol: Protocol
) -> None:
    reporter = Quiet()
    evaluation = run(ROOT / "submissions" / "tv", reporter)
    stages = [one for one in reporter.stages if not one.startswith("purify is the default")]
    assert stages == ["data", "labels", "run", "score"]
    assert evaluation.new
    record = read_record(Path(evaluation.folder))
    result = record.result
    assert (result.status, result.device, result.protocol.digest) == ("scored", "cpu", protocol.digest)
    # no nodule is met in so few slices
    assert set(result.metrics) == {metric.name for metric in protocol.metrics} - {"nodule contrast"}
    assert result.truth is not None
    assert set(result.metrics["KID (EfficientNet-Lite0)"]) >= {"whole", "background", "lung"}
    assert result.gate is not None
    assert result.gate.passed
    assert record.observed.times is not None
    assert record.observed.times.run_s > 0
    pictures = {f"{role}-{kind}.webp" for role in ("worst", "median", "best") for kind in KINDS}
    pictures |= {f"{role}-regions.png" for role in ("worst", "median", "best")} | {PICTURES, STRIP}
    assert set(record.observed.files) == {FEATURES, SLICES, SPECTRA} | pictures
    folder = Path(evaluation.folder)
    assert {path.name for path in folder.iterdir()} == {"record.json", SLICES, SPECTRA, PICTURES, STRIP}
    assert record.observed.about is not None
    assert record.observed.about.license == "Apache-2.0"

    rmse = [one.value for one in read_slices(record, folder, ("truth", "RMSE", "whole")) if one.value is not None]
    assert len(rmse) == 6
    assert np.mean(rmse) == pytest.approx(result.truth["RMSE"]["whole"].value, rel=1e-5)
    with np.load(open_store(leaderboard).get(attachment(record, folder, FEATURES))) as features:
        assert features["efficientnet-lite0/whole"].shape == (6, 1280)

    check_board(leaderboard)
    page = leaderboard / "site" / protocol.identity / "tv" / f"{record.id}.html"
    assert page.read_text().count('class="viewer"') == 3
    assert "Total variation" in (leaderboard / "README.md").read_text()


def test_a_protocol_that_publishes_no_images_keeps_none(cache: Path, protocol: Protocol, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    assert cache.is_dir()
    private = msgspec.structs.replace(protocol, publish=Publish(images=False))
    benchmark = prepare(private, Quiet(), leaderboard=tmp_path / "lb")
    for case in benchmark.dataset.cases:
        write_grey(outputs / f"{case.name}.png", read_grey(Path(case.lq)))
    _, folder = evaluate_folder(outputs, benchmark, Quiet(), slug="mine", keep=True)
    assert folder is not None
    assert set(read_record(folder).observed.files) == {FEATURES, SLICES, SPECTRA}
    assert not list((tmp_path / "lb").rglob("*.webp")) + list((tmp_path / "lb").rglob("*.png"))


def test_the_same_run_again_repeats_the_record(run: Callable[..., Evaluation]) -> None:
    first = run(ROOT / "submissions" / "tv")
    cached = run(ROOT / "submissions" / "tv")
    assert cached.run is not None
    assert (cached.new, cached.run.reused) == (False, True)
    again = run(ROOT / "submissions" / "tv", fresh=True)
    assert again.run is not None
    assert (again.new, again.run.reused) == (False, False)
    assert first.record.id == cached.record.id == again.record.id


def test_a_submission_can_be_the_weak_denoiser(
    run: Callable[..., Evaluation], protocol: Protocol, tmp_path: Path
) -> None:
    """Its container makes the labels; in the lung they are its own outputs, so that it is circular there."""
    output = run(ROOT / "submissions" / "median").record.result.outputs
    purify = Purify(weak_denoiser=str(ROOT / "submissions" / "median"))
    reporter = Quiet()
    by_error = msgspec.structs.replace(
        protocol, purify=purify, metrics=(Metric(name="RMSE", metric="rmse"),), rank_by=RankBy(metric="RMSE")
    )
    records = evaluate_anchors(prepare(by_error, reporter, leaderboard=tmp_path), reporter)
    assert "weak" in reporter.stages
    rows = {record.result.submission.slug: record.result for record in records}
    assert rows["anchor-weak-denoiser"].outputs == output
    error = {slug: row.metrics["RMSE"]["lung"].value for slug, row in rows.items()}
    assert error["anchor-weak-denoiser"] == min(error.values())
    assert purify.is_circular("median", ())
    assert not purify.is_circular("tv", ())
    ((_, board),) = rank_all(tmp_path)
    assert {row.standing for row in board} == {"anchor"}


def test_shipped_submissions_stand_where_they_belong(run: Callable[..., Evaluation], leaderboard: Path) -> None:
    for slug in ("identity", "median", "nlm", "template", "tv"):
        assert run(ROOT / "submissions" / slug).record.result.status == "scored"
    ((_, rows),) = rank_all(leaderboard)
    standing = {row.record.result.submission.slug: row for row in rows}
    assert standing["identity"].standing == "anchor"
    # a relation of the labels' weak denoiser, too: nothing is circular where the truth ranks
    assert {slug for slug, row in standing.items() if row.standing == "ranked"} >= {"median", "tv", "nlm"}
    template = standing["template"].record.result.gate  # a blur of a pixel is worth little at this pixel size
    assert template is not None
    assert (standing["template"].standing == "ranked") == template.passed


@pytest.fixture
def command(cache: Path, tmp_path: Path) -> Callable[[str, str], subprocess.Popen[str]]:
    """Start `harness run` on a copy of the template with another program, in a process of its own."""
    (tmp_path / "small.yaml").write_text(small_protocol())

    def start(slug: str, program: str) -> subprocess.Popen[str]:
        shutil.copytree(ROOT / "submissions" / "template", tmp_path / slug)
        (tmp_path / slug / "denoise.py").write_text(program)
        arguments = [
            "run",
            str(tmp_path / slug),
            "-p",
            str(tmp_path / "small.yaml"),
            "--leaderboard",
            str(tmp_path / "lb"),
        ]
        return subprocess.Popen(
            [sys.executable, "-m", "harness", *arguments],
            env={**os.environ, "HARNESS_CACHE": str(cache)},
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def test_a_failing_submission_leaves_a_failed_record_that_never_ranks(
    command: Callable[[str, str], subprocess.Popen[str]], engine: Engine, tmp_path: Path
) -> None:
    assert engine.find_image(BASE_IMAGE)
    process = command("broken", "raise SystemExit('no weights today')\n")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 20, errors
    for said in ("stage: run (exit status 20)", "no weights today", "cause: the submission"):
        assert said in errors
    ((_, (row,)),) = rank_all(tmp_path / "lb")
    assert (row.standing, row.rank, row.record.result.status) == ("unranked", None, "failed")
    assert "no weights today" in (tmp_path / "lb" / "README.md").read_text()


def test_ctrl_c_leaves_no_container_and_no_record(
    command: Callable[[str, str], subprocess.Popen[str]], engine: Engine, cache: Path, tmp_path: Path
) -> None:
    assert isinstance(engine, DockerEngine)
    process = command("sleeper", "import time\ntime.sleep(600)\n")
    containers: list[Any] = []
    for _ in range(1200):
        image = engine.find_image("ipv2-harness/submissions:sleeper")
        containers = engine.client.containers(filters={"ancestor": image}) if image else []
        if containers or process.poll() is not None:
            break
        time.sleep(0.1)
    assert containers
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted: finished work is kept; the container is removed" in errors
    assert "Traceback" not in errors
    assert engine.client.containers(all=True, filters={"ancestor": image}) == []
    assert not list((tmp_path / "lb").rglob("record.json"))
    assert not list(cache.rglob("*.part"))


def test_many_submissions_go_on_past_failures_and_end_with_a_table(engine: Engine, cache: Path, tmp_path: Path) -> None:
    """A good one, one that fails in its container and one without a sound manifest, two at a time."""
    assert engine.find_image(BASE_IMAGE)
    (tmp_path / "small.yaml").write_text(small_protocol())
    for slug in ("good", "broken", "untold"):
        shutil.copytree(ROOT / "submissions" / "template", tmp_path / slug)
    (tmp_path / "broken" / "denoise.py").write_text("raise SystemExit('no weights today')\n")
    (tmp_path / "untold" / "submission.yaml").write_text("schema: 1\n")
    options = ["-p", str(tmp_path / "small.yaml"), "--leaderboard", str(tmp_path / "lb"), "--jobs", "2", "--json"]
    folders = [str(tmp_path / slug) for slug in ("good", "broken", "untold")]
    done = subprocess.run(
        [sys.executable, "-m", "harness", "run", *folders, *options],
        env={**os.environ, "HARNESS_CACHE": str(cache)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 20, done.stderr  # before 2
    rows = {row["submission"]: row for row in json.loads(done.stdout)}
    assert {slug: row["exit"] for slug, row in rows.items()} == {"good": 0, "broken": 20, "untold": 2}
    assert rows["good"]["outcome"] == "scored"
    # a blur of one pixel is too much where a pixel is 3 mm wide
    assert rows["good"]["standing"].startswith("not ranked: fidelity gate: RMSE")
    assert rows["untold"]["standing"] == "no record"
    assert "no weights today" in rows["broken"]["outcome"]
    assert "submission.yaml" in rows["untold"]["outcome"]
    check_board(tmp_path / "lb")
    records = {record.result.submission.slug: record for record in read_records(tmp_path / "lb")}
    assert {slug: record.id for slug, record in records.items()} == {
        slug: rows[slug]["record"] for slug in ("good", "broken")
    }
    cores = engine.machine.cpus / 2
    assert records["good"].observed.limits.cpus <= cores
