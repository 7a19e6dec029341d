"""The GitHub workflows as far as they can be looked at without GitHub: who may do what, and the scripts themselves."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from harness.cli import cli
from tests.clone import Clone
from tests.github import GITHUB, ROOT, bash, load, script, steps_of

FILES = [*sorted((GITHUB / "workflows").glob("*.yml")), GITHUB / "actions" / "harness" / "action.yml"]


def check_commands(text: str) -> None:
    """Every `harness ci` in a script is one that the program knows, with all options that it wants."""
    for verb, rest in re.findall(r"\bharness ci (\w+)(.*)", text.replace("\\\n", " ")):
        command = cli.commands["ci"].commands[verb]  # type: ignore[attr-defined]
        known = {option for parameter in command.params for option in parameter.opts}
        given = set(re.findall(r"\s(--?[a-z-]+)", rest.split(">")[0]))
        assert given
        assert given <= known
        required = [set(one.opts) for one in command.params if one.required and one.param_type_name == "option"]
        assert all(options & given for options in required)


# -------------------------------------------------------------------------------- who may do what
def test_only_the_jobs_that_need_them_have_rights_and_secrets() -> None:
    rights = {}
    for path in sorted((GITHUB / "workflows").glob("*.yml")):
        loaded = load(path)
        triggers = set(loaded[True])  # YAML 1.1 takes the key `on` for a truth value
        for name, job in loaded["jobs"].items():
            secrets = set(re.findall(r"secrets\.(\w+)", yaml.safe_dump(job)))
            permissions = job.get("permissions", loaded["permissions"])
            rights[f"{path.stem}/{name}"] = (triggers, permissions, job.get("environment"), secrets)
    # every right here is a decision; docs/ci.md says why each is given
    assert rights == {
        "tests/test": ({"pull_request", "push"}, {"contents": "read"}, None, set()),
        "submission/check": ({"pull_request"}, {"contents": "read"}, None, set()),
        "verdict/comment": ({"workflow_run"}, {"actions": "read", "pull-requests": "write"}, None, set()),
        "score/run": ({"workflow_dispatch"}, {"contents": "read"}, "gpu", set()),
        "score/score": (
            {"workflow_dispatch"},
            {"contents": "write", "pull-requests": "write"},
            "score",
            {"HARNESS_SIGNING_KEY", "HARNESS_SECRET"},
        ),
    }


def test_the_tests_of_a_pull_request_run_on_githubs_machines_only() -> None:
    (job,) = load(GITHUB / "workflows" / "tests.yml")["jobs"].values()
    assert job["runs-on"].startswith("ubuntu-")
    assert [step.get("run") for step in job["steps"]] == [None, None, "make test"]


def test_what_may_write_comments_checks_nothing_out() -> None:
    steps = list(steps_of(GITHUB / "workflows" / "verdict.yml"))
    assert [step.get("uses", "").split("@")[0] for step in steps] == ["actions/download-artifact", ""]


def test_no_checkout_leaves_gits_credentials_to_what_runs_after_it() -> None:
    steps = [step for path in sorted((GITHUB / "workflows").glob("*.yml")) for step in steps_of(path)]
    checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == 4
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)
    # and the job that judges a pull request checks out the base alone
    checkout = next(steps_of(GITHUB / "workflows" / "submission.yml"))
    assert checkout["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"


# -------------------------------------------------------------------------------- what they say
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_actions_are_pinned_and_files_and_commands_exist(path: Path, tmp_path: Path) -> None:
    for line in re.findall(r"uses: (.*)", path.read_text()):
        if line.startswith("./"):
            assert (ROOT / line / "action.yml").is_file()
        else:
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", line), line
    scripts = [str(step["run"]) for step in steps_of(path) if "run" in step]
    assert scripts
    for text in scripts:
        assert "${{" not in text, "values go into a script by its environment only"
        parsed = subprocess.run(["bash", "-n", "-c", text], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert parsed.returncode == 0, parsed.stderr
        for file in re.findall(r"^docker/[\w-]+", text, flags=re.MULTILINE):
            assert os.access(ROOT / file, os.X_OK)
        check_commands(text)


def test_the_gitlab_file_of_the_docs_parses_and_its_commands_exist() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "ci.md").read_text(), flags=re.DOTALL)
    jobs = {name: job for name, job in yaml.safe_load(text).items() if name not in ("stages", ".base")}
    assert list(jobs) == yaml.safe_load(text)["stages"]
    for name, job in jobs.items():
        assert any(f"harness ci {name}" in line for line in job["script"])
    check_commands(text)


# -------------------------------------------------------------------------------- what they do
def test_the_check_step_hands_on_a_refusal(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone")
    base = clone.git("rev-parse", "HEAD")
    clone.submission("newer")
    clone.write("leaderboard/README.md", "first\n")
    head = clone.commit()
    clone.git("checkout", "--quiet", "main")
    done = bash(
        script("submission.yml", "Check"),
        cwd=clone.folder,
        BASE=base,
        HEAD=head,
        GITHUB_STEP_SUMMARY=str(tmp_path / "summary"),
    )
    assert done.returncode == 2, done.stderr
    text = (clone.folder / "verdict.md").read_text()
    assert "touches 'leaderboard'" in text
    assert (tmp_path / "summary").read_text() == text


class Forge:
    """A `gh` that answers the look-up of a pull request and keeps the body of the comment."""

    def __init__(self, folder: Path, *, number: str) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "verdict").mkdir()
        gh = folder / "bin" / "gh"
        found = f'*pulls*) echo "{number}"'
        posted = '*issues/*/comments*) echo "$*" >> asked; cp comment.md body'
        gh.write_text(f'#!/bin/sh\ncase "$*" in {found} ;; {posted} ;; esac\n')
        gh.chmod(0o755)

    def comment(self) -> subprocess.CompletedProcess[str]:
        return bash(
            script("verdict.yml", "Comment"),
            cwd=self.folder,
            PATH=f"{self.folder / 'bin'}:{os.environ['PATH']}",
            REPOSITORY="o/r",
            OWNER="stranger",
            BRANCH="$(touch owned)",
            HEAD="a" * 40,
            URL="https://example.org/run",
        )


def test_a_forged_verdict_is_posted_as_code_and_nothing_else(tmp_path: Path) -> None:
    forge = Forge(tmp_path, number="7")
    forged = "valid\n```\n@everyone [link](https://example.org)\x1b[31m\n~~~\n" + "z" * 100_000
    (tmp_path / "verdict" / "verdict.md").write_text(forged)
    done = forge.comment()
    assert done.returncode == 0, done.stderr
    assert "repos/o/r/issues/7/comments" in (tmp_path / "asked").read_text()
    lines = (tmp_path / "body").read_text().splitlines()
    opened, closed = (number for number, line in enumerate(lines) if line.startswith("```"))
    assert (opened, closed) == (2, len(lines) - 1)
    assert "@everyone [link](https://example.org)[31m" in lines[opened:closed]
    assert sum(map(len, lines)) < 31_000
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("number", ["", "7 --method DELETE"])
def test_without_a_pull_request_of_that_commit_nothing_is_posted(tmp_path: Path, number: str) -> None:
    forge = Forge(tmp_path, number=number)
    (tmp_path / "verdict" / "verdict.md").write_text("valid\n")
    assert forge.comment().returncode == 0
    assert not (tmp_path / "body").exists()


def test_a_link_in_the_place_of_the_verdict_is_not_followed(tmp_path: Path) -> None:
    forge = Forge(tmp_path, number="7")
    (tmp_path / "verdict" / "verdict.md").symlink_to("/proc/self/environ")
    assert forge.comment().returncode == 0
    assert not (tmp_path / "body").exists()


def test_the_board_update_holds_the_leaderboard_and_nothing_else(tmp_path: Path) -> None:
    clone, forge = Clone(tmp_path / "clone"), Forge(tmp_path, number="7")
    clone.git("init", "--quiet", "--bare", str(tmp_path / "origin"))
    clone.git("remote", "add", "origin", str(tmp_path / "origin"))
    clone.write("verdict.txt", "left lying about\n")

    def update() -> subprocess.CompletedProcess[str]:
        return bash(
            script("score.yml", "Open the board update"),
            cwd=clone.folder,
            PATH=f"{forge.folder / 'bin'}:{os.environ['PATH']}",
            NUMBER="7",
            HEAD="a" * 40,
            GITHUB_RUN_ID="1",
            GITHUB_REF_NAME="main",
        )

    assert update().stdout == "no new record\n"
    assert clone.git("ls-remote", "origin") == ""
    clone.write("leaderboard/records/tiny-1/x/0/record.json", "{}\n")
    done = update()
    assert done.returncode == 0, done.stderr
    (pushed,) = clone.git("ls-remote", "origin").splitlines()
    assert pushed.endswith("refs/heads/board/7-aaaaaaaaaaaa-1")
    changed = clone.git("diff", "--name-only", "main", pushed.split()[0])
    assert changed == "leaderboard/records/tiny-1/x/0/record.json"
