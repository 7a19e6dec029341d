"""What a running container is asked, where a real daemon cannot be made to answer as it sometimes does."""

from __future__ import annotations

from typing import Any

import pytest

from harness.base.errors import InfrastructureError
from harness.engines._container import ASKED_AT_MOST, DockerContainer, duration


class Daemon:
    """A daemon that loses the output of the first `silent` commands, as one under load was seen to do."""

    def __init__(self, silent: int) -> None:
        self.silent = silent
        self.asked = 0

    def inspect_volume(self, _name: str) -> dict[str, str]:
        return {"Mountpoint": "/on/another/machine"}

    def exec_create(self, _container: str, _command: list[str]) -> dict[str, str]:
        return {"Id": "1"}

    def exec_start(self, _identity: str) -> bytes:
        self.asked += 1
        return b"" if self.asked <= self.silent else b"100 50 40\n"


def output_space(daemon: Any) -> tuple[bool, int]:
    container = DockerContainer.__new__(DockerContainer)
    container.client, container.holder = daemon, "holder"
    return container._output_space()


def test_a_daemon_that_loses_an_answer_is_asked_again() -> None:
    assert output_space(Daemon(silent=1)) == (False, 9)  # 50 inodes, 40 free, one is the folder's own


def test_a_daemon_that_never_answers_is_the_machines_fault() -> None:
    daemon = Daemon(silent=10**6)
    with pytest.raises(InfrastructureError, match="did not report how full"):
        output_space(daemon)
    assert daemon.asked == ASKED_AT_MOST


@pytest.mark.parametrize(
    ("by_engine_s", "expected_s"),
    [(4.7, 4.7), (0.01, 0.01), (3604.7, 5.0), (-3595.3, 5.0)],
    ids=["as it was", "hardly ran", "the clock was set forward", "the clock was set back"],
)
def test_a_clock_that_is_set_does_not_change_how_long_a_container_ran(by_engine_s: float, expected_s: float) -> None:
    assert duration(by_engine_s, noticed_s=5.0) == expected_s
