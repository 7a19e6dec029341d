"""An organiser's folder: two small protocols, three submissions of which one fails and one cannot be read, a plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.slurm import PROTOCOL

LABEL = "ipv2-harness.campaign"
MANIFEST = 'schema: 1\nname: {slug}\nversion: "1"\nauthors: [T]\nlicense: MIT\nimage: {{build: .}}\n'
DOCKERFILE = 'ARG BASE_IMAGE\nFROM ${{BASE_IMAGE}}\nLABEL {label}=1\nCMD ["sh", "-c", "{command}"]\n'
COPIES, FAILS = "sleep 1; cp /input/*.png /output", "echo no >&2; exit 1"
PLAN = """
schema: 1
submissions: [submissions/*]
protocols: [small.yaml, smaller.yaml]
leaderboard: board
"""


def write_submission(folder: Path, slug: str, command: str = COPIES) -> Path:
    """A submission that runs a shell's command."""
    made = folder / "submissions" / slug
    made.mkdir(parents=True)
    (made / "Dockerfile").write_text(DOCKERFILE.format(label=LABEL, command=command))
    (made / "submission.yaml").write_text(MANIFEST.format(slug=slug))
    return made


@pytest.fixture
def organiser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, which is the current one."""
    for name, size in (("small", 128), ("smaller", 96)):
        (tmp_path / f"{name}.yaml").write_text(PROTOCOL.format(name=name, size=size))
    write_submission(tmp_path, "c-copies")
    write_submission(tmp_path, "c-fails", FAILS)
    (write_submission(tmp_path, "c-unread") / "submission.yaml").write_text("schema: 1\nnam: x\n")
    (tmp_path / "plan.yaml").write_text(PLAN)
    monkeypatch.chdir(tmp_path)
    return tmp_path
