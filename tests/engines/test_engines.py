"""Which engine is taken: by name, by the environment, by the command's option."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.base.errors import InfrastructureError, UsageError
from harness.engines import connect, engine_name, engine_names, podman

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_one_asked_for_comes_before_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_ENGINE", raising=False)
    assert engine_name() == "docker"
    monkeypatch.setenv("HARNESS_ENGINE", "podman")
    assert engine_name() == "podman"
    assert engine_name("apptainer") == "apptainer"


def test_an_unknown_one_is_told_which_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_ENGINE", "_build")  # a module, and no engine
    with pytest.raises(UsageError) as caught:
        connect()
    assert caught.value.fix == "choose one of apptainer, docker, podman"
    assert engine_names() == ("apptainer", "docker", "podman")


def test_without_podmans_service_the_message_names_the_command_that_starts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_ENGINE", "podman")
    monkeypatch.setenv("CONTAINER_HOST", "unix:///nowhere/podman.sock")
    with pytest.raises(InfrastructureError, match=r"/nowhere/podman\.sock") as caught:
        connect()
    assert "harness engine start --engine podman" in caught.value.fix


def harness(*arguments: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HARNESS_CACHE": str(tmp_path / "cache"), **environment},
    )


def test_the_option_names_what_there_is(tmp_path: Path) -> None:
    for arguments, environment in ((["--engine", "nope"], {}), ([], {"HARNESS_ENGINE": "nope"})):
        done = harness("check", "submissions/identity", *arguments, tmp_path=tmp_path, **environment)
        assert done.returncode == 2
        assert "choose one of apptainer, docker, podman" in done.stderr


@pytest.mark.skipif(shutil.which("apptainer") is not None, reason="apptainer is installed")
def test_the_option_reaches_every_process_of_many(tmp_path: Path) -> None:
    submissions = ("submissions/identity", "submissions/median")
    board = ("-p", "phantom-mini", "--leaderboard", str(tmp_path / "board"))
    done = harness("run", *submissions, "--engine", "apptainer", *board, tmp_path=tmp_path)
    assert done.returncode == 50
    assert done.stdout.count("apptainer: no such program") + done.stderr.count("apptainer: no such program") >= 2
    assert not list((tmp_path / "board").glob("records/*/*/*"))


def test_cgroups_of_a_build_go_once_podman_has_removed_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(podman, "CGROUPS", tmp_path)
    late = tmp_path / "pids" / "build" / "run" / "podmans"
    late.mkdir(parents=True)
    (tmp_path / "pids" / "others").mkdir()
    timer = threading.Timer(0.3, late.rmdir)
    timer.start()
    podman._remove_groups("build")
    timer.join()
    assert [path.name for path in (tmp_path / "pids").iterdir()] == ["others"]
