"""Ownership of containers: a lock file for each harness process, which the kernel frees when the process dies."""

from __future__ import annotations

import fcntl
import functools
import os
import re
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from harness.base.files import cache_root

OWNER, DEADLINE = "ipv2-harness.owner", "ipv2-harness.deadline"


def _folder() -> Path:
    return cache_root() / "owners"


@functools.cache
def _own_id(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    own = uuid.uuid4().hex
    lock = os.open(folder / f"{own}.lock", os.O_CREAT | os.O_RDWR, 0o600)  # open for as long as this process lives
    fcntl.flock(lock, fcntl.LOCK_EX)
    return own


def owner_labels(*, lifetime_s: float) -> dict[str, str]:
    """Labels for what this process creates. After `lifetime_s` seconds any harness may remove it."""
    return {OWNER: _own_id(_folder()), DEADLINE: str(int(time.time() + lifetime_s))}


def is_leftover(labels: Mapping[str, str]) -> bool:
    """Whether the process that set these labels is dead.

    Nothing is known about an owner with another cache folder (another user, another machine): what it made is left
    alone until its deadline has passed.
    """
    owner = labels.get(OWNER, "")
    path = _folder() / f"{owner}.lock"
    if re.fullmatch(r"[0-9a-f]{32}", owner) and path.exists():
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True
    deadline = labels.get(DEADLINE, "")
    return deadline.isdecimal() and int(deadline) < time.time()


def forget_dead_owners() -> None:
    """Remove the lock files of dead processes; call it once what they left behind is gone."""
    for path in _folder().glob("*.lock"):
        if is_leftover({OWNER: path.stem}):
            path.unlink(missing_ok=True)
