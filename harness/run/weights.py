"""Weights that a submission declares: downloaded once, by SHA-256."""

from __future__ import annotations

import urllib.parse
from pathlib import Path

from harness.base.download import NotTheFile, download
from harness.base.errors import BuildError, UsageError
from harness.base.files import cache_root
from harness.submission.manifest import Submission, Weights

MAX_WEIGHTS_BYTES = 20 * 10**9


def weights_name(weights: Weights, submission: Submission) -> str:
    """The file name in /opt/ml/model, which is the last part of the URL. UsageError if there is none or it is taken."""
    name = urllib.parse.unquote(urllib.parse.urlsplit(weights.url).path).rsplit("/", 1)[-1]
    others = [one for one in submission.manifest.weights if one.url.endswith(f"/{name}")]
    if not name or name.startswith(".") or len(others) > 1:
        raise UsageError(
            f"weights: the URL {weights.url!r} must end in a file name that no other weights have",
            fix="correct weights in submission.yaml",
        )
    return name


def fetch_weights(weights: Weights) -> Path:
    """The cached file of declared weights, downloaded once, by https from a public address (`harness.base.download`).

    BuildError if the server sends another file or too many bytes; UsageError, InfrastructureError as there.
    """
    path = cache_root() / "weights" / weights.sha256
    if path.exists():
        return path
    try:
        download(weights.url, path, sha256=weights.sha256, max_bytes=MAX_WEIGHTS_BYTES, public_only=True)
    except NotTheFile as error:
        raise BuildError(str(error), fix="correct weights in submission.yaml") from error
    return path
