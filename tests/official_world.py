"""A tiny protocol with an official test set, and machines that make other bytes, for tests of `harness data`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from harness import phantom
from harness.imaging import blend
from harness.protocol import Protocol, load_protocol
from tests.command import Done, harness
from tests.small import small_protocol

GREY_LEVELS = 3


class World:
    """A folder with the protocol `tiny.yaml`; on the official machine its digests and `tiny.tar` were written."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.folder, self.tar = folder, folder / "tiny.tar"
        text = small_protocol("patients: 1, slices: 2, size: 96" + more).replace("name: phantom-mini", "name: tiny")
        text = re.sub(r"^version: \d+", "version: 4", text, flags=re.MULTILINE)
        (folder / "tiny.yaml").write_text(text.replace("times_input: 1.0", "times_input: 2.0"))  # so small a tv fails

    @property
    def protocol(self) -> Protocol:
        return load_protocol(str(self.folder / "tiny.yaml"))

    @property
    def digests(self) -> Path:
        return self.folder / f"{self.protocol.identity}.slices.json"

    def on(self, machine: str, *arguments: str) -> Done:
        """`harness ARGUMENTS` in the folder, with the cache of a machine of that name."""
        return harness(*arguments, cwd=self.folder, HARNESS_CACHE=str(self.folder / machine))


def make_world(folder: Path, more: str = "") -> World:
    """Make everything in `folder`; `more` are keys of `data` beside those of every world."""
    world = World(folder, more)
    for command in (("digests",), ("export", "-o", "tiny.tar")):
        done = world.on("official", "data", command[0], "-p", "tiny.yaml", *command[1:])
        assert done.returncode == 0, done.stderr
    return world


@contextmanager
def other_scanner() -> Iterator[None]:
    """A machine whose library makes one pixel of the second slice's low-dose image `GREY_LEVELS` brighter."""
    scan = phantom.scan_plane

    def scanned(person: Any, height: float, **options: Any) -> phantom.PlaneScans:
        found = scan(person, height, **options)
        if height < 0.45:  # the first of two slices
            return found
        lq = found.usual.lq.copy()
        level = int(lq[48, 48])
        lq[48, 48] = level + GREY_LEVELS if level < 128 else level - GREY_LEVELS
        return msgspec.structs.replace(found, usual=msgspec.structs.replace(found.usual, lq=lq))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phantom, "scan_plane", scanned)
        yield


@contextmanager
def other_labels() -> Iterator[None]:
    """A machine whose library makes another pixel in every label."""
    label_of = blend.label

    def labelled(*arguments: Any, **images: Any) -> NDArray[np.uint8]:
        label = label_of(*arguments, **images).copy()
        label[0, 0] ^= 1
        return label

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.labels.label_set.label_of", labelled)
        yield
