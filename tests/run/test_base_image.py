"""The base image: built where it is missing, and a plain word where that cannot be done."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.base.errors import InfrastructureError
from harness.engines import BASE_IMAGE, Engine
from harness.engines.docker import DockerEngine
from harness.pipeline import engine as pipeline_engine
from harness.pipeline.engine import connect_with_base
from harness.run import base_image

MISSING = "ipv2-harness/base:missing"


class Notes:
    """A reporter that keeps the lines that a user would read."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int], None]]:
        self.lines.append(name)
        yield lambda _done, _total: None

    def step(self, text: str) -> None:
        self.lines.append(text)

    def note(self, text: str) -> None:
        raise AssertionError(text)  # what -q leaves


@pytest.mark.engine
def test_a_missing_base_image_is_built_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(engine, DockerEngine)
    assert engine.find_image(BASE_IMAGE)
    for module in (pipeline_engine, base_image):
        monkeypatch.setattr(module, "BASE_IMAGE", MISSING)
    first, second = Notes(), Notes()
    try:
        for notes in (first, second):
            with connect_with_base(notes) as connected:
                assert connected.find_image(MISSING)
    finally:
        engine.client.remove_image(MISSING)
    assert first.lines[0] == "base image"
    assert first.lines[-1].startswith(f"built {MISSING}")
    assert second.lines == []


def test_what_the_base_image_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(InfrastructureError, match="mmdebstrap") as caught:
        base_image._debian_tar(False, print)
    assert "harness engine build-base" in caught.value.fix
    with pytest.raises(InfrastructureError, match=r"false failed with exit status 1") as caught:
        base_image._run(["env", "A=1", "false"], "look")
    assert caught.value.fix == "look"
