"""Weights that a submission declares: downloaded once, by SHA-256."""

from __future__ import annotations

import unicodedata
import urllib.parse
from pathlib import Path

from harness.base.download import NotTheFile, download
from harness.base.errors import BuildError, UsageError
from harness.base.files import cache_root
from harness.submission.manifest import Submission, Weights

MAX_WEIGHTS_BYTES = 20 * 10**9  # of all files of a submission

MAX_FILES = 16


def weights_of(submission: Submission) -> list[tuple[str, Path]]:
    """The declared weights: each file's name in /opt/ml/model, and the file, which is downloaded unless it is cached.

    UsageError where a URL names no file, or two the same, and where there are too many; BuildError if a server sends
    another file or too many bytes; UsageError, InfrastructureError as `harness.base.download`.
    """
    declared = submission.manifest.weights
    if len(declared) > MAX_FILES:
        raise UsageError(f"weights: {len(declared)} files, at most {MAX_FILES} are fetched", fix="pack them into one")
    names = [weights_name(one) for one in declared]
    alike = [unicodedata.normalize("NFC", name).casefold() for name in names]
    for one, name in zip(declared, alike, strict=True):
        if alike.count(name) > 1:
            raise UsageError(
                f"weights: the URL {one.url!a} ends in the file name of other weights", fix="rename one of the files"
            )
    found: list[tuple[str, Path]] = []
    for one, name in zip(declared, names, strict=True):
        left = MAX_WEIGHTS_BYTES - sum(path.stat().st_size for _, path in found)
        found.append((name, fetch_weights(one, at_most=left)))
    return found


def fetch_weights(weights: Weights, *, at_most: int = MAX_WEIGHTS_BYTES) -> Path:
    """The cached file of declared weights, downloaded once, by https from a public address (`harness.base.download`).

    BuildError if the server sends another file or too many bytes; UsageError, InfrastructureError as there.
    """
    path = cache_root() / "weights" / weights.sha256
    if path.exists():
        return path
    try:
        download(weights.url, path, sha256=weights.sha256, max_bytes=at_most, public_only=True)
    except NotTheFile as error:
        raise BuildError(str(error), fix="correct weights in submission.yaml") from error
    return path


def weights_name(weights: Weights) -> str:
    """The last part of the URL. UsageError if it is no name of a file."""
    try:
        path = urllib.parse.urlsplit(weights.url).path
    except ValueError:
        path = ""
    name = urllib.parse.unquote(path).rsplit("/", 1)[-1]
    if not name or name.startswith(".") or not name.isprintable() or len(name.encode()) > 200:
        raise UsageError(
            f"weights: the URL {weights.url!a} must end in the name of a file", fix="correct weights in submission.yaml"
        )
    return name
