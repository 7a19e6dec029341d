"""Secrets and keys: files that only their owner may read, kept outside everything that is published."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from harness.base.errors import UsageError
from harness.base.files import cache_root


def refuse_shared_folder(path: Path) -> None:
    """UsageError if a secret or a key lies, or would lie, in a folder that is passed on: a git repository, which is
    published, or a submission's folder, which goes into a build."""
    for parent in path.resolve().parents:
        for mark, kind in ((".git", "repository"), ("submission.yaml", "submission")):
            if (parent / mark).exists():
                raise UsageError(
                    f"{path}: lies in the {kind} {parent}, where no secret or key may be",
                    fix="keep it elsewhere, for example in a folder of its own in your home folder",
                )


def read_private(path: Path, *, named_by: str) -> bytes:
    """The bytes of a secret or a key that only its owner may read and that lies in no repository or submission.

    `named_by` is the environment variable that names the file. UsageError says what is wrong with it.
    """
    if not path.is_file():
        raise UsageError(f"{named_by}={path}: no such file", fix=f"correct or unset {named_by}")
    refuse_shared_folder(path)
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise UsageError(f"{named_by}={path}: other users have access to it (mode {mode:03o})", fix=f"chmod 600 {path}")
    return path.read_bytes()


def installation_secret() -> bytes:
    """32 random bytes, drawn once for this cache folder.

    They key the case names that containers see, so that a look-up table fits no other installation, and the noise that
    is added to a folder's slices.
    """
    path = cache_root() / "secret"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".secret.{secrets.token_hex(4)}.part")
    try:
        if not path.exists():
            part.touch(mode=0o600, exist_ok=False)
            part.write_bytes(secrets.token_bytes(32))
            with contextlib.suppress(FileExistsError):  # another process was first: its secret counts
                os.link(part, path)
        return path.read_bytes()
    finally:
        part.unlink(missing_ok=True)
