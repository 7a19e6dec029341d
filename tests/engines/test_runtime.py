"""HARNESS_RUNTIME: the low-level runtime as the organiser's choice, gVisor where the engine knows it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from harness.base.errors import ContainerTimeout, InfrastructureError, OutputQuotaError, UsageError
from harness.base.slices import read_grey
from harness.engines import Engine, connect
from harness.run.execute import run_submission
from harness.sandbox import Limits, chosen_runtime, policy_of
from harness.submission.manifest import load_submission
from tests.containers.world import client_of, make_dataset, make_submission, of_this_process

# gVisor's own threads and pages count as the container's: 40 processes, as other tests grant, end it at its start
LIMITS = Limits(wall_s=60, memory_gb=1, cpus=1, shm_gb=0.01, tmp_gb=0.05, pids=512)
SHORT = msgspec.structs.replace(LIMITS, wall_s=5)


def test_what_is_no_name_is_refused() -> None:
    assert chosen_runtime({}) is None
    assert chosen_runtime({"HARNESS_RUNTIME": ""}) is None
    assert chosen_runtime({"HARNESS_RUNTIME": "kata-fc"}) == "kata-fc"
    with pytest.raises(UsageError, match="HARNESS_RUNTIME"):
        chosen_runtime({"HARNESS_RUNTIME": "/bin/sh -c"})


def test_a_runtime_is_part_of_the_key_and_the_engines_own_changes_none() -> None:
    limits = Limits()
    assert policy_of(limits, runtime="runsc") == {**policy_of(limits), "runtime": "runsc"}
    assert "runtime" not in policy_of(limits)


@pytest.mark.engine
def test_a_runtime_that_the_engine_does_not_know_is_named(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_RUNTIME", "no-such-runtime")
    with pytest.raises(InfrastructureError, match="HARNESS_RUNTIME: docker has no runtime 'no-such-runtime'"):
        connect("docker")
    own = client_of(engine).info()["DefaultRuntime"]
    monkeypatch.setenv("HARNESS_RUNTIME", own)
    with connect("docker") as same:
        assert (same.runtime, same.description) == (None, engine.description)


@pytest.fixture
def gvisor(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    if "runsc" not in client_of(engine).info()["Runtimes"]:
        pytest.skip("the engine knows no runsc (apt-get install runsc, then docker/start-engine registers it)")
    monkeypatch.setenv("HARNESS_RUNTIME", "runsc")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    with connect("docker") as connected:
        yield connected
        assert of_this_process(connected) == []


@pytest.mark.engine
def test_a_submission_runs_on_gvisors_kernel(gvisor: Engine, tmp_path: Path) -> None:
    folder = make_submission(
        tmp_path / f"gvisor-{os.getpid()}",
        "good",
        dockerfile='ENTRYPOINT ["sh", "-c", "uname -r; exec \\"$@\\"", "sh"]',
    )
    dataset = make_dataset(tmp_path / "data")
    run = run_submission(load_submission(folder), dataset, LIMITS, seed=7, engine=gvisor)
    for case in dataset.cases:
        assert (read_grey(Path(run.outputs[case.name])) == read_grey(Path(case.lq))).all()
    assert ", runsc, " in run.engine
    assert run.log.splitlines()[0] != platform.release()


@pytest.mark.engine
def test_gvisor_holds_time_and_quota(gvisor: Engine, tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    for behaviour, expected, limits in (
        ("sleeps_for_ever", ContainerTimeout, SHORT),
        ("disk_fill", OutputQuotaError, LIMITS),
    ):
        folder = make_submission(tmp_path / f"gvisor-{os.getpid()}-{behaviour}".replace("_", "-"), behaviour)
        with pytest.raises(expected):
            run_submission(load_submission(folder), dataset, limits, seed=7, engine=gvisor)
