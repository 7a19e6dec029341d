"""Errors that nobody raised on purpose -> errors of the harness, so that no input ends in a traceback alone."""

from __future__ import annotations

import os
from pathlib import Path

from harness.base.errors import HarnessError, InfrastructureError, UsageError
from harness.base.files import cache_root, elsewhere


def as_harness_error(error: Exception) -> HarnessError:
    """`error` itself if it was raised on purpose; else one of this machine or of the harness that says what it was, or
    of the command, where that names a place below a file."""
    if isinstance(error, HarnessError):
        return error
    if isinstance(error, OSError):
        place = error.filename or f"the disk of the cache folder, {cache_root()}"
        named = isinstance(error.filename, str | bytes)  # else a file's number, or none
        path = Path(os.fsdecode(error.filename)) if named else cache_root()
        fix = f"repair or free that place, or {elsewhere(path)}"
        below_a_file = isinstance(error, NotADirectoryError | FileExistsError)
        kind = UsageError if below_a_file and not path.is_relative_to(cache_root()) else InfrastructureError
        return kind(f"{place}: {error.strerror or error}", fix=fix)
    return InfrastructureError(
        f"the harness itself failed: {type(error).__name__}: {error}",
        fix="report it with the lines above (SECURITY.md, if a submission can cause it)",
    )
