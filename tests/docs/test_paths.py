"""Files that the documents name exist: they move, and nobody thinks of the documents."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
NAMED = re.compile(r"(?<![\w/.-])(?:(?:harness|tests|benchmarks)/[\w/.-]+\.py|docs/[\w/.-]+\.md)\b")
WRITTEN = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "*.md", "tests/docs/commands.py"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
]


@pytest.mark.parametrize("document", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_files_that_a_document_names_exist(document: Path) -> None:
    lost = [name for name in NAMED.findall(document.read_text()) if not (ROOT / name).is_file()]
    assert not lost, f"{document.relative_to(ROOT)} names files that have moved: {lost}"


def test_paths_are_found_where_they_stand_in_prose() -> None:
    text = "see `harness/sandbox.py`, (tests/ci/test_jobs.py) and docs/ci.md; not leaderboard/records/x.py"
    assert NAMED.findall(text) == ["harness/sandbox.py", "tests/ci/test_jobs.py", "docs/ci.md"]
