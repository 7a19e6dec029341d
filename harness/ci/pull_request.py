"""Pull request: two commits -> which submissions lie between them, and their folders.

Strangers write what is read here, and it is read as data: nothing is checked out, no attribute, filter or hook of git
applies, and anything but plain files is refused. docs/ci.md says who calls it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.base.errors import UsageError
from harness.base.files import MAX_DEPTH, MAX_PATH
from harness.base.process import run, run_into
from harness.base.structs import Strict
from harness.base.text import first_few, shortened
from harness.sandbox import BuildPolicy
from harness.submission.manifest import check_slug

SUBMISSIONS = "submissions"

LEADERBOARD = "leaderboard"

MAX_FILES = 2000  # of one submission, folders included

MAX_NAME = 255  # bytes, which file systems take

MAX_BYTES = BuildPolicy().context_bytes  # of one submission: a build takes no more

GIT = ("git", "--no-replace-objects", "--literal-pathspecs")

PLAIN = {"100644": 0o644, "100755": 0o755}  # git's modes of files

KINDS = {"120000": "a symbolic link", "160000": "a submodule"}


class PullRequest(Strict, frozen=True, kw_only=True):
    """What changed between two commits. `base` is their common ancestor; slugs are sorted."""

    base: str
    head: str
    changed: tuple[str, ...]  # submissions that head adds or changes
    removed: tuple[str, ...]  # submissions that head no longer has


def read_pull_request(repository: Path, *, base: str, head: str) -> PullRequest:
    """The submissions that `head` changes since it left `base`; both are revisions of the git repository.

    UsageError if a revision does not exist, if anything below leaderboard/ is touched, or if submissions are mixed with
    anything else. A change without submissions needs no score and is returned without slugs.
    """
    before, after = (_commit(repository, name) for name in (base, head))
    fork = _git(repository, "merge-base", before, after).strip()
    if not fork:
        raise UsageError(f"{base} and {head} have no commit in common", fix="fetch the full history of both")
    # one folder at a time: a few trees within each other can name more files than any memory holds
    ours, theirs = (_entries(repository, commit) for commit in (fork, after))
    paths = _differing(ours, theirs)
    records = [path for path in paths if path.lower() == LEADERBOARD]  # some file systems ignore case
    if records:
        raise UsageError(
            f"the pull request touches {_named(records)}: records, tables and site are written by the harness alone",
            fix=f"leave {LEADERBOARD}/ as it is on the base",
        )
    was, now = (_entries(repository, commit, f"{SUBMISSIONS}/") for commit in (fork, after))
    inside = _differing(was, now)
    stray = [path for path in inside if not _are_folders(path, was, now)]
    stray += [
        path
        for path in paths
        if path.lower() == SUBMISSIONS and (path != SUBMISSIONS or not _are_folders(path, ours, theirs))
    ]
    if stray:
        raise UsageError(
            f"the pull request adds or changes {_named(stray)}, outside any submission's folder",
            fix=f"move the files of a submission to {SUBMISSIONS}/<slug>/",
        )
    others = [path for path in paths if path != SUBMISSIONS]
    if inside and others:
        raise UsageError(
            f"the pull request changes submissions and {_named(others)}: a submission must not change how it is judged",
            fix=f"move everything outside {SUBMISSIONS}/<slug>/ to another pull request",
        )
    slugs = {path.removeprefix(f"{SUBMISSIONS}/"): path in now for path in inside}
    return PullRequest(
        base=fork,
        head=after,
        changed=tuple(slug for slug, there in slugs.items() if there),
        removed=tuple(slug for slug, there in slugs.items() if not there),
    )


def extract(repository: Path, commit: str, slug: str, into: Path) -> Path:
    """Write the files of `submissions/<slug>` as they are in `commit` to the new folder `<into>/<slug>`; returns it.

    UsageError for links, submodules, unusable file names, and more files or bytes than a submission may have.
    """
    folder = into / check_slug(slug)
    top = f"{SUBMISSIONS}/{slug}"
    files: list[tuple[str, str, Path]] = []  # mode, object, where to
    waiting: list[tuple[str, tuple[str, ...]]] = [(f"{commit}:{top}", ())]
    seen = total = 0
    while waiting:
        tree, within = waiting.pop()
        for entry in _zero_separated(_git(repository, "ls-tree", "--full-tree", "-l", "-z", tree)):
            facts, _, name = entry.partition("\t")
            mode, kind, blob, size = facts.split()
            parts = (*within, name)
            path = "/".join((top, *parts))
            if not _is_name(name) or len(parts) > MAX_DEPTH or len(path) > MAX_PATH:
                raise UsageError(f"{shortened(path, 300)!a}: this name cannot be used", fix="rename it")
            seen += 1
            if kind == "tree":
                waiting.append((blob, parts))
            elif mode in PLAIN:
                total += int(size)
                files.append((mode, blob, folder.joinpath(*parts)))
            else:
                raise UsageError(f"{path!a} is {KINDS.get(mode, 'not a file')}", fix="commit plain files only")
            if seen > MAX_FILES or total > MAX_BYTES:
                raise UsageError(
                    f"{top}: at most {MAX_FILES} files and folders of {MAX_BYTES / 1e6:.0f} MB in all are allowed",
                    fix="leave data out, and declare weights in submission.yaml",
                )
    folder.mkdir(parents=True)
    for mode, blob, file in files:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(PLAIN[mode], exist_ok=False)
        except (FileExistsError, NotADirectoryError):
            raise UsageError(f"{SUBMISSIONS}/{slug}: {file.name!a} occurs twice", fix="rename one") from None
        run_into([*GIT, "cat-file", "blob", blob], file, cwd=repository)
    return folder


def _is_name(part: str) -> bool:
    """Whether a part of a path in a commit, which anybody can forge, is the name of a file and nothing else."""
    odd = re.search(r"[\x00-\x1f\x7f\\\ufffd]", part)  # the last one replaces undecodable bytes
    return not odd and part.lower() not in ("", ".", "..", ".git") and len(part.encode()) <= MAX_NAME


def _commit(repository: Path, revision: str) -> str:
    asked = ["rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}"]
    done = run([*GIT, *asked], cwd=repository)
    if done.returncode != 0:
        raise UsageError(
            f"{revision!a} is not a commit of the repository {repository}: {done.stderr.strip()!a}",
            fix="fetch that commit, or correct its name",
        )
    return done.stdout.strip()


def _git(repository: Path, *arguments: str) -> str:
    """What git prints; empty where it finds nothing (exit status 1)."""
    done = run([*GIT, *arguments], cwd=repository)
    if done.returncode > 1:
        raise UsageError(f"git {arguments[0]} in {repository}: {done.stderr.strip()!a}", fix="repair the repository")
    return done.stdout


def _zero_separated(text: str) -> list[str]:
    return [part for part in text.split("\0") if part]


def _entries(repository: Path, commit: str, folder: str = "") -> dict[str, str]:
    """What a commit has at its top or in a folder, by path: mode, kind and object."""
    where = ("--", folder) if folder else ()
    listing = _zero_separated(_git(repository, "ls-tree", "--full-tree", "-z", commit, *where))
    return {path: facts for facts, _, path in (entry.partition("\t") for entry in listing)}


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    return sorted({path for path, _ in one.items() ^ other.items()})


def _are_folders(path: str, *commits: Mapping[str, str]) -> bool:
    """Whether a path is a folder in each of the commits that have it."""
    return all(" tree " in entries.get(path, " tree ") for entries in commits)


def _named(paths: Sequence[str]) -> str:
    return ", ".join(first_few([ascii(path) for path in paths]))
