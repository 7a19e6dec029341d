"""A campaign with the real engine and the real Snakemake: killed in the middle, gone on with, compared."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import docker.errors
import pytest

from harness.engines import Engine
from harness.records.store import read_records
from tests.campaign.conftest import LABEL
from tests.command import harness, harness_process
from tests.containers.world import client_of

CAMPAIGN = ("campaign", "plan.yaml", "--jobs", "2", "--json")


@pytest.fixture(autouse=True)
def _images_go(engine: Engine) -> Iterator[None]:
    yield
    client = client_of(engine)
    for image in client.images(filters={"label": LABEL}):
        with contextlib.suppress(docker.errors.APIError):
            client.remove_image(image["Id"], force=True)


def kill_in_the_middle(organiser: Path) -> list[Path]:
    """Start the campaign, and kill it with all its processes as soon as it has a run; the runs that it has."""
    done = organiser / "plan.campaign/done/run"
    with subprocess.Popen(
        [sys.executable, "-m", "harness", *CAMPAIGN], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while not any(done.glob("*/*")):
            assert process.poll() is None
            time.sleep(0.05)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
        for child in children:  # Snakemake leads a group of its own, which its jobs belong to
            os.killpg(int(child), signal.SIGKILL)
    return sorted(done.glob("*/*"))


@pytest.mark.engine
def test_a_killed_campaign_goes_on_and_its_records_are_those_of_harness_run(
    organiser: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(organiser / "cache"))
    finished = {path: path.stat().st_mtime_ns for path in kill_in_the_middle(organiser)}
    assert len(list(read_records(organiser / "board"))) < 4

    done = harness_process(*CAMPAIGN, cwd=organiser)
    assert done.returncode == 20, done.stderr
    rows = json.loads(done.stdout)
    assert [(row["protocol"], row["submission"], row["exit"]) for row in rows] == [
        *(("small-1", "c-copies", 0), ("small-1", "c-fails", 20)),
        *(("smaller-1", "c-copies", 0), ("smaller-1", "c-fails", 20)),
        ("all", "c-unread", 2),
    ]
    assert rows[1]["outcome"] == "the container ended with exit status 1: no"
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert rows[0]["record"] in (organiser / "board/README.md").read_text()
    # the runs' cache never held a label, a normal-dose slice or the truth
    assert {path.name for path in (organiser / "plan.campaign/cache").iterdir()} & {
        "data",
        "labels",
        "features",
    } == set()

    for name in ("small", "smaller"):
        ran = ("run", "c-copies", "c-fails", "-p", f"{name}.yaml", "--leaderboard", "alone")
        assert harness(*ran, cwd=organiser).returncode == 20
    alone = {record.id: record.result for record in read_records(organiser / "alone")}
    found = list(read_records(organiser / "board"))
    assert {record.id: record.result for record in found} == alone
    assert sorted(record.id for record in found) == sorted(row["record"] for row in rows[:-1])
