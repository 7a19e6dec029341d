"""Pull requests of temporary git repositories: which submissions they change, and the files of these."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.base.digests import digest_folder
from harness.base.errors import UsageError
from harness.ci.pull_request import MAX_FILES, extract, read_pull_request
from tests.clone import Clone


# -------------------------------------------------------------------------------- what it holds
def test_submissions_are_found_by_what_changed_since_the_branch_left(clone: Clone) -> None:
    clone.submission("newer")
    (clone.folder / "submissions" / "older" / "Dockerfile").unlink()
    (clone.folder / "submissions" / "older" / "submission.yaml").unlink()
    pull = clone.pull_request()
    assert (pull.changed, pull.removed) == (("newer",), ("older",))
    clone.submission("mains-own")  # what main does meanwhile is no part of it
    clone.commit()
    assert read_pull_request(clone.folder, base="main", head="theirs") == pull


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("leaderboard/records/tiny-1/mine/0123456789abcdef/record.json", "touches 'leaderboard'"),
        ("leaderboard/README.md", "touches 'leaderboard'"),
        ("Leaderboard/README.md", "touches 'Leaderboard'"),
        ("harness/judge.py", "submissions and 'harness'"),
        ("protocols/tiny.yaml", "submissions and 'protocols'"),
        (".github/workflows/submission.yml", "submissions and '.github'"),
        (".gitattributes", ".gitattributes"),
        ("submissions/loose.py", "submissions/loose.py"),
        ("Submissions/newer/a.py", "'Submissions', outside"),
    ],
)
def test_a_submission_comes_alone(clone: Clone, path: str, said: str) -> None:
    clone.submission("newer")
    clone.write(path, "theirs\n")
    with pytest.raises(UsageError, match=said):
        clone.pull_request()


def test_records_are_refused_without_a_submission_too(clone: Clone) -> None:
    clone.write("leaderboard/README.md", "first\n")
    with pytest.raises(UsageError, match="written by the harness alone"):
        clone.pull_request()


def test_unknown_and_misleading_revisions_are_refused(clone: Clone) -> None:
    for revision in ("no-such-branch", "--all", ""):
        with pytest.raises(UsageError, match="is not a commit"):
            read_pull_request(clone.folder, base="main", head=revision)
    clone.git("checkout", "--quiet", "--orphan", "elsewhere")
    clone.write("other.txt", "another history\n")
    clone.commit()
    with pytest.raises(UsageError, match="no commit in common"):
        read_pull_request(clone.folder, base="main", head="elsewhere")


# -------------------------------------------------------------------------------- its files
def test_files_are_extracted_as_they_were_committed(clone: Clone, tmp_path: Path) -> None:
    folder = clone.submission("newer")
    # each of these would change what a checkout or an archive holds
    clone.write(
        "submissions/newer/.gitattributes", "a.txt export-ignore\nb.txt text eol=crlf\nc.txt ident export-subst\n"
    )
    clone.write("submissions/newer/a.txt", "kept\n")
    clone.write("submissions/newer/b.txt", "one\ntwo\n")
    clone.write("submissions/newer/deep/er/c.txt", "$Id$ $Format:%H$\n")
    (folder / "weights.bin").write_bytes(bytes(range(256)))
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    before = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    digest = digest_folder(folder)
    pull = clone.pull_request()
    made = extract(clone.folder, pull.head, "newer", tmp_path / "into")
    assert {path.name: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before
    assert digest_folder(made) == digest
    assert not folder.exists()  # nothing was checked out


def test_links_and_submodules_are_refused(clone: Clone, tmp_path: Path) -> None:
    folder = clone.submission("newer")
    (tmp_path / "label.png").write_text("an answer")
    (folder / "label.png").symlink_to(tmp_path / "label.png")
    pull = clone.pull_request()
    with pytest.raises(UsageError, match=r"'submissions/newer/label.png' is a symbolic link"):
        extract(clone.folder, pull.head, "newer", tmp_path / "into")
    assert not (tmp_path / "into").exists()
    clone.git("checkout", "--quiet", "theirs")
    clone.git("rm", "--quiet", "submissions/newer/label.png")
    clone.git("update-index", "--add", "--cacheinfo", f"160000,{pull.head},submissions/newer/sub")
    clone.git("commit", "--quiet", "-m", "a submodule")
    with pytest.raises(UsageError, match="is a submodule"):
        extract(clone.folder, "theirs", "newer", tmp_path / "into")


def tree_of(clone: Clone, *entries: str) -> str:
    """A tree, made up object by object, as an attacker does who does not use git."""
    listed = "".join(f"{entry}\0" for entry in entries)
    return subprocess.run(
        ["git", "mktree", "-z"], cwd=clone.folder, input=listed, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("name", ["..", ".git", ".GIT", "back\\slash", "new\nline", "x" * 256])
def test_names_that_git_itself_would_not_write_are_refused(clone: Clone, tmp_path: Path, name: str) -> None:
    blob = clone.git("hash-object", "-w", "protocols/tiny.yaml")
    tree = tree_of(clone, f"100644 blob {blob}\t{name}")
    for parent in ("evil", "submissions"):
        tree = tree_of(clone, f"040000 tree {tree}\t{parent}")
    commit = clone.git("commit-tree", tree, "-m", "evil")
    with pytest.raises(UsageError, match="this name cannot be used"):
        extract(clone.folder, commit, "evil", tmp_path / "into")
    assert not list(tmp_path.rglob("into/**/*"))


def test_what_is_extracted_is_bounded(clone: Clone, tmp_path: Path) -> None:
    folder = clone.submission("newer")
    for number in range(MAX_FILES):
        (folder / str(number)).touch()
    pull = clone.pull_request()
    with pytest.raises(UsageError, match=f"at most {MAX_FILES}"):
        extract(clone.folder, pull.head, "newer", tmp_path / "into")


@pytest.mark.parametrize("times", [10, 1], ids=["wide", "deep"])
def test_trees_within_each_other_that_name_more_files_than_there_is_room_for(
    clone: Clone, tmp_path: Path, times: int
) -> None:
    """A few objects: ten trees deep, each ten times in the next; or forty deep."""
    blob = clone.git("hash-object", "-w", "protocols/tiny.yaml")
    tree = tree_of(clone, f"100644 blob {blob}\tf")
    for _ in range(10 if times > 1 else 40):
        tree = tree_of(clone, *(f"040000 tree {tree}\t{number}" for number in range(times)))
    for parent in ("evil", "submissions"):
        tree = tree_of(clone, f"040000 tree {tree}\t{parent}")
    commit = clone.git("commit-tree", tree, "-p", "main", "-m", "evil")
    clone.git("update-ref", "refs/heads/theirs", commit)
    with pytest.raises(UsageError, match="touches 'leaderboard'"):
        read_pull_request(clone.folder, base="main", head="theirs")
    with pytest.raises(UsageError, match=f"at most {MAX_FILES}" if times > 1 else "this name cannot be used"):
        extract(clone.folder, commit, "evil", tmp_path / "into")
    assert not list(tmp_path.rglob("into/**/*"))
