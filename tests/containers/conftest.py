"""Who may run beside whom, and what the hostile suite did as a table at its end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.engines import BASE_IMAGE, Engine, connect
from harness.engines.podman import open_client as open_podman
from tests.containers.cases import ALL, ALONE
from tests.containers.world import IMAGE, WatchedPodman, Watching, World, client_of

GATE, MACHINE, PODMAN = (
    Path(tempfile.gettempdir()) / f"ipv2-harness-tests.{name}" for name in ("gate", "machine", "podman")
)


@pytest.fixture(autouse=True)
def _turn(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let tests of several workers run side by side, but for two kinds.

    A case that takes the machine runs beside no other case. Of the tests on Podman one runs at a time: its list of
    images fails while another process removes one.
    """
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    case = parameters.get("case")
    with contextlib.ExitStack() as held:
        gate, machine, podman = (held.enter_context(path.open("w")) for path in (GATE, MACHINE, PODMAN))
        if parameters.get("engine") == "podman":
            fcntl.flock(podman, fcntl.LOCK_EX)
        if case is not None:
            fcntl.flock(gate, fcntl.LOCK_EX)  # who waits to be alone holds the gate: nobody goes in before it
            fcntl.flock(machine, fcntl.LOCK_EX if case.name in ALONE else fcntl.LOCK_SH)
            fcntl.flock(gate, fcntl.LOCK_UN)
        yield


@pytest.fixture(scope="module")
def watched(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watching]:
    """A connection of a user whose configuration names a proxy and its password: the SDK likes to pass these on."""
    configured = tmp_path_factory.mktemp("docker-config")
    proxy = {"httpProxy": "http://user:password@proxy.invalid:3128", "noProxy": "localhost"}
    (configured / "config.json").write_text(json.dumps({"proxies": {"default": proxy}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_CONFIG", str(configured))
        plain = connect(engine.name)  # as `engine` did, which made sure that there is one
        assert plain.machine == engine.machine
        client = client_of(plain)
        assert client._proxy_configs.http, "the configuration was not read: the case would be vacuous"
        # every case copies the same files: without this image, a case that ends would remove their layer while another
        # is being built on it
        kept = f"ipv2-harness/hostile:{os.getpid()}"
        plain.build(IMAGE, tag=kept, arguments={"BASE_IMAGE": BASE_IMAGE})
        with WatchedPodman(client, reopen=open_podman) if engine.name == "podman" else Watching(client) as found:
            yield found
        client.remove_image(kept)


@pytest.fixture
def world(watched: Watching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The setting of a case; whatever of the case is left anywhere when it ends is an error."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(watched, "plan", None)
    monkeypatch.setattr(watched, "ended", None)
    world = World(tmp_path, watched)
    yield world
    world.clear()
    assert world.built() == []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = [
        value
        for report in terminalreporter.stats.get("passed", [])
        for name, value in getattr(report, "user_properties", ())
        if name == "hostile"
    ]
    if not rows:
        return
    places = {case.name: place for place, case in enumerate(ALL)}
    rows.sort(key=lambda row: places[row[0]])
    rows.insert(0, ["case", "exit", "stage", "whose fault", "bound that held", "container"])
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    terminalreporter.section(f"hostile submissions: {len(rows) - 1} held")
    for row in rows:
        terminalreporter.write_line("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)))
