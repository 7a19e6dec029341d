"""Patient: the two series of one patient -> slice pairs as 16-bit PNGs, checked on the way."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.base.digests import digest_pixels
from harness.base.png import Rejected
from harness.base.progress import Progress
from harness.base.slices import COMPRESSION
from harness.dataset.pairs_fit import SMOOTH
from harness.imaging.hounsfield import OFFSET_HU
from harness.importing.choose import Patient
from harness.importing.hounsfield import Look
from harness.importing.pairing import Breath, Matched, arrange, match
from harness.importing.planes import Left, Pixels, Plane, Stated
from harness.importing.report import counts

SHOWN = (-1000.0, 400.0)
"""HU of black and white in the contact sheet."""
UNCLEAR = "may be of one breath or of two: give --paired (each pair shows one plane) or --unpaired"

Grey = NDArray[np.uint8]


class Pair(NamedTuple):
    """A written slice pair: its planes and the digests of its pixels."""

    low: Plane
    normal: Plane
    lq: str
    gt: str


class Taken(NamedTuple):
    """A patient's slice pairs, in the files lq/STEM-K.png and gt/STEM-K.png, K from 0."""

    stem: str
    identity: str
    pairs: list[Pair]
    paired: bool
    padded: int
    clipped: int
    notes: tuple[str, ...]
    left: list[Left]
    shown: list[list[Grey]]


def take(patient: Patient, stated: Stated, folder: Path, *, stem: str, progress: Progress | None) -> Taken:
    """Write the slice pairs of a patient into `folder`; `progress` is told (read, planes).

    Rejected where they cannot be paired or are no HU; what was written is removed then. UsageError where the user must
    say whether planes of unknown place are paired.
    """
    low, normal = arrange(patient.low), arrange(patient.normal)
    left = [*low.left, *normal.left]
    if not (low.planes and normal.planes):
        raise Rejected(f"has no plane left of one dose: {_causes(left)}")
    matched = match(low.planes, normal.planes, stated)
    with ThreadPoolExecutor(2) as pool:
        writer = _Writer(folder, stem, pool)
        for done, pair in enumerate(matched.pairs):
            if progress is not None:
                progress(done, len(patient.low))
            writer.add(*pair)
    try:
        if not writer.pairs:
            raise Rejected(f"has no pair left: {_causes(writer.left)}")
        paired = _checked(writer, matched, stated)
    except Rejected:
        writer.remove()
        raise
    notes = [*_remarks(writer, matched, paired=paired), *low.notes]
    notes += [note for note in normal.notes if note not in low.notes]
    pairs = writer.pairs
    left += [*matched.left, *writer.left]
    middle = [pairs[len(pairs) * part // 4].low.where for part in (1, 2, 3)]
    shown = [[writer.shown[kind, where] for where in middle] for kind in ("lq", "gt")]
    return Taken(stem, patient.identity, pairs, paired, writer.padded, writer.clipped, tuple(notes), left, shown)


def _causes(left: list[Left]) -> str:
    return "; ".join(counts(left))


def _checked(writer: _Writer, matched: Matched, stated: Stated) -> bool:
    """Whether the pairs are of one plane each. Rejected where the values are no HU, or nobody can tell."""
    for dose, look in (("low", writer.low), ("normal", writer.normal)):
        if wrong := look.wrong():
            raise Rejected(f"{dose} dose {wrong}")
    one_breath = matched.one_place if stated.paired is not None else matched.one_place and writer.breath.one()
    if one_breath is None:
        raise Rejected(UNCLEAR)
    return one_breath


def _remarks(writer: _Writer, matched: Matched, *, paired: bool) -> Iterator[str]:
    """What somebody should know of the two doses together."""
    yield from matched.notes
    if matched.one_place and not paired:
        yield "unpaired: the places agree, the anatomy does not (another breath)"
    if paired and not writer.breath.one():
        yield "stated as paired, although the anatomy differs"
    if {one.low.kernel for one in writer.pairs} != {one.normal.kernel for one in writer.pairs}:
        yield "the two doses have other kernels"
    if writer.low.grain < SMOOTH * writer.normal.grain:
        yield "the low dose is the less noisy one: --low and --normal exchanged?"


class _Writer:
    """Writes pairs one by one, and gathers what they look like."""

    def __init__(self, folder: Path, stem: str, pool: ThreadPoolExecutor) -> None:
        self.folder, self.stem, self.pool = folder, stem, pool
        self.pairs: list[Pair] = []
        self.left: list[Left] = []
        self.low, self.normal, self.breath = Look(), Look(), Breath()
        self.padded = self.clipped = 0
        self.shown: dict[tuple[str, str], Grey] = {}

    def add(self, low: Plane, normal: Plane) -> None:
        """Read and write a pair; one that cannot be read is left out."""
        read: list[Pixels] = []
        for plane in (low, normal):
            try:
                read.append(plane.read())
            except Rejected as error:
                self.left.append(Left(plane.where, str(error)))
        if len(read) < 2:
            return
        for look, pixels in ((self.low, read[0]), (self.normal, read[1])):
            look.add(pixels)
        self.breath.add(*read)
        stored = []
        for kind, pixels in zip(("lq", "gt"), read, strict=True):
            exact = pixels.hu + OFFSET_HU
            values = np.clip(exact, 0, 65535)
            self.padded += int(pixels.padded.sum())
            self.clipped += int((values != exact).sum())
            self.shown[kind, low.where] = _thumbnail(pixels)
            stored.append(np.ascontiguousarray(values, "<u2"))
        files = [self._file(kind, len(self.pairs)) for kind in ("lq", "gt")]
        lq, gt = self.pool.map(_write, files, stored)  # half of an import's time
        self.pairs.append(Pair(low, normal, lq, gt))

    def _file(self, kind: str, number: int) -> Path:
        return self.folder / kind / f"{self.stem}-{number}.png"

    def remove(self) -> None:
        """Remove what was written."""
        for kind in ("lq", "gt"):
            for number in range(len(self.pairs)):
                self._file(kind, number).unlink()


def _write(path: Path, values: NDArray[np.uint16]) -> str:
    """Write a 16-bit grey PNG; the digest of its pixels."""
    from PIL import Image

    Image.fromarray(values).save(path, format="PNG", **COMPRESSION["quick"])
    return digest_pixels(values)


def _thumbnail(pixels: Pixels) -> Grey:
    step = max(1, max(pixels.hu.shape) // 192)
    low, high = SHOWN
    shown = (pixels.hu[::step, ::step] - low) / (high - low) * 255
    return np.asarray(np.rint(np.clip(shown, 0, 255)), np.uint8)
