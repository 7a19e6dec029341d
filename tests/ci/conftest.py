"""An organiser's repository with a branch of a stranger's, and `harness` in it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.clone import Clone
from tests.command import Done, harness


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    made = Clone(tmp_path / "clone")
    made.git("checkout", "--quiet", "-b", "theirs")
    return made


@pytest.fixture
def ci(clone: Clone, tmp_path: Path) -> Callable[..., Done]:
    """`harness ...` in the clone, on its own cache and leaderboard."""
    return partial(harness, cwd=clone.folder, HARNESS_CACHE=str(tmp_path / "cache"), COLUMNS="200")


@pytest.fixture
def check(ci: Callable[..., Done]) -> Callable[[], Done]:
    """`harness ci check` of the branch `theirs` on one slice."""
    return partial(ci, "ci", "check", "--base", "main", "--head", "theirs", "-p", "tiny", "--slices", "1")
