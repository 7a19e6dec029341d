"""Fingerprints: digests of images and patients, to find out whether training and test sets overlap."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.base.digests import digest_pixels
from harness.base.errors import UsageError
from harness.base.files import write_text
from harness.base.slices import read_image
from harness.dataset.cases import KINDS, Dataset

TRAINED_ON = "trained_on.txt"
"""The file of fingerprints, one per line, that `harness pairs` writes beside training pairs."""


def fingerprints(dataset: Dataset) -> dict[str, str]:
    """SHA-256 (hex) -> the slice or patient that it identifies.

    Digested are the pixels of every image of every slice, further ones included, and, for the phantom, what each
    patient is generated from. Region maps are no images.
    """
    images = [
        (Path(path), name if kind in KINDS else f"{name}-{kind}")
        for name, paths in dataset.files().items()
        for kind, path in paths.items()
        if kind != "regions"
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        digests = pool.map(lambda image: digest_pixels(read_image(image[0])), images)
        found = {digest: name for digest, (_, name) in zip(digests, images, strict=True)}
    return found | {digest: f"patient {patient}" for patient, digest in dataset.people.items()}


def write_fingerprints(path: Path, found: Iterable[str]) -> None:
    """Write fingerprints, sorted, one per line."""
    write_text(path, "".join(f"{digest}\n" for digest in sorted(found)))


def read_fingerprints(path: Path) -> list[str]:
    """The fingerprints in a file. UsageError if it does not exist or holds anything else."""
    if not path.is_file():
        raise UsageError(
            f"{path}: no such file", fix=f"copy the {TRAINED_ON} that `harness pairs` wrote beside the training pairs"
        )
    lines = path.read_text(errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if not re.fullmatch(r"[0-9a-f]{64}", line):
            raise UsageError(
                f"{path}, line {number}: expected the 64 hex digits of a SHA-256, found {line[:80]!a}",
                fix=f"copy the {TRAINED_ON} that `harness pairs` wrote, unchanged",
            )
    return lines
