"""Every case of `tests.containers.cases` against Docker: its end, its bound, and that nothing is left."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.containers.attempt import attempt_and_check
from tests.containers.cases import ALL, ALONE, DOCUMENT, ENDS, TELLING, Case, documented
from tests.containers.world import World

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name.replace(" ", "-"))
def test_a_hostile_submission(
    case: Case, world: World, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    ended = attempt_and_check(case, world, monkeypatch)
    took = "" if ended is None else f"{ended.seconds:.1f} s, {(ended.peak_memory_bytes or 0) / 1e6:.0f} MB"
    record_property("hostile", [case.name, case.status, *ENDS[case.status], case.bound, took])


def test_names_are_told_apart() -> None:
    assert len({case.name for case in ALL}) == len(ALL)
    assert {case.name for case in ALL} >= TELLING | ALONE


def test_the_documents_table_is_the_suites() -> None:
    text = DOCUMENT.read_text()
    assert documented(text) == text, "python tests/containers/cases.py writes it anew"
