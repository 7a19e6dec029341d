"""The files that GitHub, citation tools and pre-commit read: they parse, agree with each other and name what exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.cli import cli
from tests.github import GITHUB, ROOT, load

FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("[!c]*.yml"))


def test_changelog_citation_and_program_have_one_version() -> None:
    newest = re.search(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert newest is not None
    assert load(ROOT / "CITATION.cff")["version"] == newest[1]
    assert CliRunner().invoke(cli, ["--version"]).output.split()[-1] == newest[1]


def test_the_changelog_has_the_sections_of_keep_a_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\]( - .+)?", one) for one in re.findall(r"^## (.*)", text, re.MULTILINE))
    sections = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)", text, re.MULTILINE)) <= sections


def test_the_citation_names_software_and_papers() -> None:
    citation = load(ROOT / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)  # what CFF 1.2 requires
    assert [one["url"].split("/")[-1] for one in citation["references"]] == ["2602.19314", "2510.07492"]
    assert all({"type", "title", "authors"} <= set(one) for one in citation["references"])


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_is_one_that_github_takes(path: Path) -> None:
    form = load(path)
    assert set(form) == {"name", "description", "labels", "body"}
    inputs = [one for one in form["body"] if one["type"] != "markdown"]
    assert len({one["id"] for one in inputs}) == len(inputs) > 0
    for one in form["body"]:
        wanted = {"markdown": "value", "textarea": "label", "input": "label", "dropdown": "options"}[one["type"]]
        assert one["attributes"][wanted]


def test_what_may_be_a_hole_in_the_sandbox_is_sent_to_the_private_report() -> None:
    assert {path.stem for path in FORMS} == {"bug", "row", "sandbox"}
    for name in ("bug", "sandbox"):
        first = load(GITHUB / "ISSUE_TEMPLATE" / f"{name}.yml")["body"][0]
        assert "[SECURITY.md](../security/policy)" in first["attributes"]["value"]
    assert load(GITHUB / "ISSUE_TEMPLATE" / "config.yml") == {"blank_issues_enabled": False}


LINKING = [ROOT / "SECURITY.md", GITHUB / "PULL_REQUEST_TEMPLATE.md", *FORMS]


@pytest.mark.parametrize("path", LINKING, ids=lambda path: path.name)
def test_files_that_are_linked_exist(path: Path) -> None:
    links = re.findall(r"\]\(([^)]+)\)", path.read_text())
    files = [link.removeprefix("../blob/HEAD/") for link in links if not link.startswith("../security/")]
    assert all((ROOT / file).is_file() for file in files)


def test_the_hooks_before_a_commit_are_commands_of_the_lint_step() -> None:
    linted = re.findall(r"^\t\$\(BIN\)/(.+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    (repository,) = load(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"  # a hook from elsewhere would be downloaded
    hooks: list[dict[str, Any]] = repository["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    for hook in hooks:
        program = hook["entry"].removeprefix(".venv/bin/").removesuffix(" --force-exclude")
        assert program in {one.removesuffix(" --check") for one in linted}
