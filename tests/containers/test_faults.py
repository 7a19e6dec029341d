"""What befalls the harness itself: killed at any moment, its engine stopped, its disk full, its cache damaged.

Nothing finished is lost, nothing half-written stays, no submission is blamed, and the record is the same in the end.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import docker.errors
import pytest

import docker
from harness.base.files import PART
from harness.engines import BASE_IMAGE, Engine, connect
from harness.engines._owner import OWNER, is_leftover
from harness.records.store import read_records
from harness.sandbox import Limits, output_quota, plan_container
from tests.containers.world import client_of

# one after the other, in one process: each removes the images of the label, and some stop the engine that they share
pytestmark = pytest.mark.engine
ROOT = Path(__file__).resolve().parents[2]
LABEL = "ipv2-harness.faults"
KILLS = 10
PROTOCOL = """
schema: 1
name: tiny
version: 1
title: Four small slices
data: {source: phantom, patients: 2, slices: 2, size: 96}
purify: {weak_denoiser: nlm}
metrics: [{name: RMSE, metric: rmse}]
rank_by: {metric: RMSE}
limits: {wall_s: 60, memory_gb: 0.5, cpus: 1, shm_gb: 0.01, tmp_gb: 0.05, pids: 50}
"""
DOCKERFILE = f"""
ARG BASE_IMAGE
FROM ${{BASE_IMAGE}}
LABEL {LABEL}=1
RUN sleep 1
CMD ["sh", "-c", "sleep 1; cp /input/*.png /output"]
"""


class Setting:
    """Protocol, submission (it takes a second), cache and leaderboard; `harness run` in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.cache, self.leaderboard = folder / "cache", folder / "leaderboard"
        self.protocol, self.submission = folder / "tiny.yaml", folder / "faults-copies"
        self.protocol.write_text(PROTOCOL)
        self.submission.mkdir()
        (self.submission / "Dockerfile").write_text(DOCKERFILE)
        (self.submission / "submission.yaml").write_text(
            'schema: 1\nname: Copies\nversion: "1"\nauthors: [T]\nimage: {build: .}\n'
        )

    def start(self, *, leaderboard: Path | None = None, **environment: str) -> subprocess.Popen[str]:
        arguments = ["run", str(self.submission), "-p", str(self.protocol)]
        arguments += ["--leaderboard", str(leaderboard or self.leaderboard)]
        return subprocess.Popen(
            [sys.executable, "-m", "harness", *arguments],
            env={**os.environ, "HARNESS_CACHE": str(self.cache), "COLUMNS": "200", **environment},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *, leaderboard: Path | None = None, **environment: str) -> tuple[int, str]:
        """Run to the end: exit status and everything printed."""
        process = self.start(leaderboard=leaderboard, **environment)
        said, _ = process.communicate(timeout=300)
        return process.returncode, said

    def records(self) -> list[str]:
        return [record.id for record in read_records(self.leaderboard)]

    def forget(self) -> None:
        """Remove leaderboard and cache, but for who owns what."""
        shutil.rmtree(self.leaderboard, ignore_errors=True)
        for path in self.cache.iterdir():
            if path.is_dir() and path.name != "owners":
                shutil.rmtree(path)

    def half_written(self) -> list[Path]:
        return [path for top in (self.cache, self.leaderboard) for path in top.rglob(f"*{PART}")]


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return Setting(tmp_path)


@pytest.fixture(autouse=True)
def _images_go(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "engine" in request.fixturenames:
        remove_images(request.getfixturevalue("engine"), LABEL)


def remove_images(engine: Engine, label: str) -> None:
    """Remove the images of a label and the layers below them: the next build of theirs starts anew."""
    client = client_of(engine)
    while found := client.images(all=True, filters={"label": label}):
        for image in found:
            with contextlib.suppress(docker.errors.APIError):  # others stand on it, or it went along already
                client.remove_image(image["Id"], force=True)


def leftovers(engine: Engine) -> list[str]:
    """Containers and volumes of dead processes of this cache, and what builds left running."""
    client = client_of(engine)
    owned = client.containers(all=True, filters={"label": OWNER})
    owned += client.volumes(filters={"label": OWNER})["Volumes"] or []
    found = [str(one.get("Names") or one.get("Name")) for one in owned if is_leftover(one["Labels"])]
    return found + [one["Id"] for one in client.containers(all=True, filters={"label": f"{LABEL}=1"})]


def finished(cache: Path) -> dict[Path, int]:
    """The notes of what is finished, and when each was written."""
    kinds = ("data/*/slices/*.json", "labels/*/slices/*.json", "runs/[!.]*/run.json")
    return {path: path.stat().st_mtime_ns for kind in kinds for path in cache.glob(kind)}


# -------------------------------------------------------------------------------- killed
def test_a_run_killed_at_any_moment_loses_nothing_and_ends_with_the_same_record(
    engine: Engine, setting: Setting, tmp_path: Path
) -> None:
    began = time.monotonic()
    status, said = setting.run()
    took = time.monotonic() - began
    assert status == 0, said
    whole = setting.records()
    assert len(whole) == 1

    (tmp_path / "input").mkdir()
    (tmp_path / "sleeps").mkdir()
    dockerfile = f'FROM {BASE_IMAGE}\nLABEL {LABEL}=sibling\nCMD ["sleep", "7200"]\n'
    (tmp_path / "sleeps" / "Dockerfile").write_text(dockerfile)
    sleeps = plan_container(
        engine.inspect(engine.build(tmp_path / "sleeps")),
        limits=Limits(wall_s=7200, memory_gb=0.1, cpus=0.1, shm_gb=0.01, tmp_gb=0.02, pids=20),
        quota=output_quota([(64, 64)]),
        input_folder=str(tmp_path / "input"),
        model_folder=None,
        seed=1,
        gpu=None,
    )
    seed = random.SystemRandom().randrange(2**32)
    moments = random.Random(seed)
    killed = 0
    with engine.start(sleeps) as sibling:  # of a process that lives, this one, with the same cache
        while killed < KILLS:
            setting.forget()
            remove_images(engine, f"{LABEL}=1")  # a build is among the moments
            moment = took * (killed + moments.random()) / KILLS
            told = f"kill {killed}, {moment:.2f} s after the start, of {took:.2f} s (seed {seed})"
            began = time.monotonic()
            process = setting.start()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moment)
            process.kill()
            if process.wait() == -signal.SIGKILL:
                killed += 1
            else:  # it was done before: the machine is quicker than it was
                took = 0.9 * (time.monotonic() - began)
            assert process.stdout is not None
            process.stdout.close()
            assert setting.records() in ([], whole), told
            kept = finished(setting.cache)
            status, said = setting.run()
            assert status == 0, f"{told}: {said}"
            assert setting.records() == whole, told
            assert setting.half_written() == [], told
            assert {path: finished(setting.cache)[path] for path in kept} == kept, told
            assert leftovers(engine) == [], told
        assert next(sibling.wait(deadline_s=900)) == 0, "the sibling's container was touched"


def test_two_runs_of_the_same_thing_take_turns(engine: Engine, setting: Setting) -> None:
    assert engine.find_image(BASE_IMAGE)
    both = [setting.start(), setting.start()]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("(from the cache)" in one for one in said) == 1, said
    assert len(setting.records()) == 1
    assert setting.half_written() == []


# -------------------------------------------------------------------------------- damaged
def test_damaged_cached_files_are_made_again(engine: Engine, setting: Setting) -> None:
    assert engine.find_image(BASE_IMAGE)
    status, said = setting.run()
    assert status == 0, said
    whole = setting.records()
    kinds: dict[tuple[str, str, str], Path] = {}
    for path in sorted(setting.cache.rglob("*.*")):
        if path.suffix in (".png", ".json", ".card"):
            relative = path.relative_to(setting.cache)
            kinds.setdefault((relative.parts[0], path.parent.name, path.suffix), path)
    assert {kind for kind, _, _ in kinds} == {"data", "labels", "runs", "scores"}
    for number, path in enumerate(kinds.values()):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 * (number % 2)])
    shutil.rmtree(setting.leaderboard)
    status, said = setting.run()
    assert status == 0, said
    assert setting.records() == whole


# -------------------------------------------------------------------------------- no room
@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=False)
    if mounted.returncode != 0:
        pytest.skip("a small disk can be mounted by root only")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("size", ["20k", "100k", "240k"])
def test_a_full_cache_disk_is_the_machines_fault(engine: Engine, setting: Setting, size: str) -> None:
    assert engine.find_image(BASE_IMAGE)
    with small_disk(setting.cache, size):
        status, said = setting.run()
        assert status == 50, said
        assert "this machine, not the submission" in said
        assert setting.half_written() == []
    assert setting.records() == []


def test_a_full_leaderboard_disk_leaves_no_half_record(engine: Engine, setting: Setting) -> None:
    assert engine.find_image(BASE_IMAGE)
    with small_disk(setting.leaderboard, "12k"):
        status, said = setting.run()
        assert status == 50, said
        assert setting.records() == []
        assert setting.half_written() == []
    status, said = setting.run()  # with room again; what was finished is not done again
    assert status == 0, said
    assert "(from the cache)" in said


# -------------------------------------------------------------------------------- the engine
class OwnEngine:
    """A Docker daemon of the test's own on a disk of its own, so that it can be stopped and filled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # in a network of its own: a daemon without a bridge removes the bridge of the machine's daemon
        (self.folder / "pid").unlink(missing_ok=True)
        (self.folder / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "--net", "dockerd", "--data-root", self.folder / "data",
                 "--exec-root", self.folder / "exec", "--pidfile", self.folder / "pid",
                 "--host", self.host, "--bridge=none", "--iptables=false", "--ip6tables=false"],
                stdout=log, stderr=log,
            )  # fmt: skip
        for _ in range(300):
            with contextlib.suppress(docker.errors.DockerException):
                docker.APIClient(base_url=self.host, version="auto").close()
                return
            time.sleep(0.1)
        pytest.fail((self.folder / "log").read_text()[-3000:])

    def stop(self, how: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(60)


@pytest.fixture(scope="module")
def own_engine(engine: Engine) -> Iterator[OwnEngine]:
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("an engine of one's own needs root and dockerd")
    folder = Path("/tmp") / f"faults-{os.getpid()}"  # the path of a socket is short
    folder.mkdir()
    (folder / "data").mkdir()
    own = OwnEngine(folder)
    with small_disk(folder / "data", "900m"):
        own.start()
        try:
            client = docker.APIClient(base_url=own.host, version="auto", timeout=120)
            # the base image's own base, where it was made here, is enough, and smaller: Debian with Python
            found = client_of(engine).images("ipv2-harness/debian-python")
            base = found[0]["RepoTags"][0] if found else BASE_IMAGE
            for _ in client.load_image(client_of(engine).get_image(base)):
                pass
            client.tag(base, *BASE_IMAGE.rsplit(":", 1))
            client.close()
            yield own
        finally:
            own.stop(signal.SIGTERM)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def on_own_engine(own_engine: OwnEngine, monkeypatch: pytest.MonkeyPatch) -> OwnEngine:
    """The engine that everything in the test, and every process that it starts, talks to."""
    monkeypatch.setenv("DOCKER_HOST", own_engine.host)
    assert own_engine.process is not None
    if own_engine.process.poll() is not None:  # a test that failed left it stopped
        own_engine.start()
    return own_engine


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_an_engine_stopped_in_the_middle_is_nobodys_fault_and_the_run_is_repeated(
    on_own_engine: OwnEngine, setting: Setting, how: signal.Signals
) -> None:
    process = setting.start()
    client = docker.APIClient(base_url=on_own_engine.host, version="auto")
    for _ in range(1200):
        if any("-submission" in one["Names"][0] for one in client.containers()) or process.poll() is not None:
            break
        time.sleep(0.05)
    client.close()
    on_own_engine.stop(how)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 50, said
    assert "this machine, not the submission" in said
    assert setting.records() == []
    status, said = setting.run()
    assert status == 50, said  # no engine answers
    on_own_engine.start()
    status, said = setting.run()
    assert status == 0, said
    assert len(setting.records()) == 1
    with connect() as engine:
        assert client_of(engine).containers(all=True) == []
        assert not client_of(engine).volumes()["Volumes"]


@pytest.mark.usefixtures("on_own_engine")
def test_an_engine_without_room_for_the_build_is_the_machines_fault(setting: Setting) -> None:
    dockerfile = setting.submission / "Dockerfile"
    dockerfile.write_text(DOCKERFILE.replace("RUN sleep 1", "RUN head -c 2000000000 /dev/zero > /fills"))
    status, said = setting.run()
    assert status == 50, said
    assert "engine's disk" in said
    assert setting.records() == []
    dockerfile.write_text(DOCKERFILE)
    status, said = setting.run()
    assert status == 0, said
