"""Overlap: a model must not have been trained on what it is tested on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.base.errors import UsageError
from harness.base.text import first_few
from harness.dataset.cases import Dataset
from harness.dataset.fingerprints import fingerprints, read_fingerprints
from harness.protocol import load_protocol, protocol_names
from harness.submission.manifest import Submission


def refuse_test_slices(submission: Submission, test: Dataset) -> None:
    """UsageError if a submission's own `trained_on` lists slices or patients of the test set."""
    if submission.manifest.trained_on is not None:
        path = Path(submission.folder) / submission.manifest.trained_on
        refuse_shared(read_fingerprints(path), test, what=str(path))


def shared_with_official(submission: Submission) -> dict[str, int]:
    """How many images of official test sets a submission's own `trained_on` lists, by the name of the protocol.

    They are told by the digests that come with the protocols, without any data.
    """
    if submission.manifest.trained_on is None:
        return {}
    trained_on = set(read_fingerprints(Path(submission.folder) / submission.manifest.trained_on))
    found = {}
    for name in protocol_names():
        official = load_protocol(name).official
        slices = official.slices if official else ()
        images = {
            image for one in slices for image in (one.lq, one.gt, one.truth, one.aligned_gt, *one.further.values())
        }
        if shared := images & trained_on:
            found[name] = len(shared)
    return found


def refuse_shared(trained_on: Iterable[str], test: Dataset, *, what: str) -> None:
    """UsageError that names the test set's slices and patients among the fingerprints `trained_on`, if there are any.

    `what` names their source in the message.
    """
    own = fingerprints(test)
    shared = sorted({own[digest] for digest in trained_on if digest in own})
    if shared:
        count = "1 slice or patient" if len(shared) == 1 else f"{len(shared)} slices or patients"
        raise UsageError(
            f"{what} holds {count} of the test set: {', '.join(first_few(shared, at_most=5))}",
            fix="train on other patients: scores on slices that a model was trained on are meaningless",
        )
