"""Protocol -> its test set, the user being told what is to be known of it."""

from __future__ import annotations

from pathlib import Path

from harness.base.errors import UsageError
from harness.base.progress import Reporter
from harness.dataset.cases import Dataset
from harness.dataset.load import load_data
from harness.protocol import Protocol


def prepare_data(protocol: Protocol, reporter: Reporter, *, leaderboard: Path) -> Dataset:
    """The test set of a protocol (`harness.dataset.load.load_data`). The reporter is told where it was imported, and
    how it differs from the official one."""
    with reporter.stage("data") as progress:
        dataset = load_data(protocol, leaderboard=leaderboard, progress=progress)
    for line in dataset.notes:
        reporter.note(line)
    return dataset


def refuse_training_set(protocol: Protocol) -> None:
    """UsageError where nothing may be tested on a protocol's data, because models are trained on them."""
    if protocol.use == "train":
        raise UsageError(
            f"protocol {protocol.name} is a training set (use: train): nothing is tested on it",
            fix=f"name its test set, as -p {protocol.name.removesuffix('-train')}",
        )
