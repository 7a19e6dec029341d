"""A git repository as an organiser has it, and pull requests to it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from harness.ci.pull_request import PullRequest, read_pull_request
from tests.containers.test_faults import PROTOCOL

LABEL = "ipv2-harness.ci"
COPIES = 'CMD ["sh", "-c", "cp /input/*.png /output"]'
# what a submission may print to make a log act: commands of CI, a mention, HTML, markup of rich
SHOUTS = 'CMD ["sh", "-c", "echo \':: ::error::mine ##[add-mask]this @everyone <b> [/b]\' >&2; exit 1"]'


class Clone:
    """A git repository of an organiser's: `main` with protocols and one submission; branches are pull requests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.write("protocols/tiny.yaml", PROTOCOL)
        self.write("harness/judge.py", "what judges\n")
        self.write("leaderboard/README.md", "no records yet\n")
        self.submission("older")
        self.commit()

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", *who, *arguments], cwd=self.folder, check=True, capture_output=True, text=True
        ).stdout.strip()

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def submission(self, slug: str, command: str = COPIES) -> Path:
        self.write(
            f"submissions/{slug}/Dockerfile", f"ARG BASE_IMAGE\nFROM ${{BASE_IMAGE}}\nLABEL {LABEL}=1\n{command}\n"
        )
        manifest = f'schema: 1\nname: {slug}\nversion: "1"\nauthors: [T]\nlicense: MIT\nimage: {{build: .}}\n'
        return self.write(f"submissions/{slug}/submission.yaml", manifest).parent

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", "change")
        return self.git("rev-parse", "HEAD")

    def pull_request(self) -> PullRequest:
        """What the branch `theirs` holds; its files are then gone from the working tree."""
        self.commit()
        self.git("checkout", "--quiet", "main")
        return read_pull_request(self.folder, base="main", head="theirs")
