"""Fingerprints: digests of a data set's images and patients, by which training and test sets are compared."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.base.digests import digest_pixels
from harness.base.errors import UsageError
from harness.base.files import write_text
from harness.base.slices import read_grey
from harness.dataset.cases import Dataset

TRAINED_ON = "trained_on.txt"
"""The file of fingerprints that `harness pairs` writes beside training pairs: one a line."""


def fingerprints(dataset: Dataset) -> dict[str, str]:
    """SHA-256 (hex) of the pixels of every image of every slice, and of every patient that is known beyond a name (the
    phantom's), each with what it is of."""
    images = [
        (Path(path), case.name)
        for case in dataset.cases
        for path in (case.lq, case.gt, case.truth, case.aligned_gt)
        if path is not None
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        digests = pool.map(lambda image: digest_pixels(read_grey(image[0])), images)
        found = {digest: name for digest, (_, name) in zip(digests, images, strict=True)}
    return found | {digest: f"patient {patient}" for patient, digest in dataset.people.items()}


def write_fingerprints(path: Path, found: Iterable[str]) -> None:
    """Write fingerprints, one a line, in order."""
    write_text(path, "".join(f"{digest}\n" for digest in sorted(found)))


def read_fingerprints(path: Path) -> list[str]:
    """The fingerprints of a file. UsageError where there is none, or something else stands in it."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file", fix=f"copy the {TRAINED_ON} of the pairs that it was trained on")
    lines = path.read_text(errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if not re.fullmatch(r"[0-9a-f]{64}", line):
            raise UsageError(
                f"{path}, line {number}: expected the 64 hex digits of a SHA-256, found {line[:80]!a}",
                fix=f"copy the {TRAINED_ON} that harness pairs wrote",
            )
    return lines
