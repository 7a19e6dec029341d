"""Load: Protocol -> Dataset, checked slice pairs on disk."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from harness.base.progress import Progress
from harness.dataset.cases import Dataset
from harness.dataset.from_folder import folder_slices
from harness.dataset.from_phantom import phantom_slices
from harness.dataset.secret import find_secret
from harness.protocol import PhantomData, Protocol


def load_data(
    protocol: Protocol, *, leaderboard: Path = Path("leaderboard"), progress: Progress | None = None
) -> Dataset:
    """The test set of a protocol: generated or found in the cache (phantom), or read and checked (folder).

    `leaderboard` is where a secret seed may have been disclosed. UsageError names the files that do not fit, or the
    secret that is missing; damaged slices in the cache are generated again.
    """
    if isinstance(protocol.data, PhantomData):
        secret = find_secret(protocol, leaderboard, os.environ)
        if secret is None:
            return phantom_slices(protocol.data, progress)
        dataset = phantom_slices(msgspec.structs.replace(protocol.data, seed=secret.seed), progress)
        return msgspec.structs.replace(dataset, names_key=secret.names_key)
    return folder_slices(protocol.data, protocol.name)
