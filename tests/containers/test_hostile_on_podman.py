"""What every bound of a run and of a build rests on, and what reads /output, against Podman: as tests of its own file,
since files are what workers share out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.containers.attempt import attempt_and_check
from tests.containers.cases import ALL, TELLING, Case
from tests.containers.world import World

pytestmark = pytest.mark.engine
PODMANS_WORDS = {"tag clobber": "failed to exec pid1", "build fork bomb": "exit status 1"}
OTHERS = [replace(case, said=PODMANS_WORDS.get(case.name, case.said)) for case in ALL if case.name in TELLING]


@pytest.mark.parametrize("engine", ["podman"], indirect=True)
@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.name.replace(" ", "-"))
def test_a_hostile_submission_on_another_engine(case: Case, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt_and_check(case, world, monkeypatch)
