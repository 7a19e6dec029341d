"""Planes: what is known of one plane of a scan before its pixels are read, and how it is turned to stand as all others.

Directions and positions are the patient's, in mm, as DICOM has them: x to the left, y to the back, z to the head.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import UsageError
from harness.base.files import read_regular
from harness.base.png import Rejected
from harness.base.structs import Strict
from harness.dataset.scans_file import MOST_MM

MOST_TILT, MOST_ROTATION = 35.0, 30.0
"""Degrees: gantries tilt by 30 at most; beyond them a plane is a reformation in another direction."""
MOST_BYTES, MOST_VOXELS = 4 << 30, 1 << 30
"""Of a file, and of what it unpacks to: 4096 planes of 512 x 512."""
SEEN = 0.5
"""Degrees from which on a tilt or a rotation is reported."""


class Pixels(NamedTuple):
    """A plane's values: whole HU, float64 (rows, columns), and where they are padding, bool; that is -1024 HU."""

    hu: NDArray[np.float64]
    padded: NDArray[np.bool_]


class Turn(NamedTuple):
    """How an array is turned: first transposed, then turned upside down, then left to right."""

    transpose: bool = False
    down: bool = False
    across: bool = False

    def of(self, pixels: Pixels) -> Pixels:
        """The plane as it is seen from the patient's feet: front of the body up, the patient's right on the left."""

        def turned(array: NDArray[np.generic]) -> NDArray[np.generic]:
            array = array.T if self.transpose else array
            return array[:: -1 if self.down else 1, :: -1 if self.across else 1]

        return Pixels(np.asarray(turned(pixels.hu), np.float64), np.asarray(turned(pixels.padded), np.bool_))


class Place(NamedTuple):
    """Where a plane lies: along the patient's axis, its centre across it, its turn, whether it is tilted against the
    axis, and what is odd about it."""

    position_mm: float
    centre_mm: tuple[float, float]
    turn: Turn
    tilted: bool
    notes: tuple[str, ...]


class Plane(Strict, frozen=True, kw_only=True):
    """One plane of a scan. `file` is relative to the source; `frame` counts the planes of a file of several, from 0.

    `series` tells the series of a source apart. `patient` is the identity that the file states, if any: it goes to the
    owner's table alone. `shape` is (rows, columns) as in the file; `derived` says that the scanner or a workstation
    calculated the plane from others. `load` reads its pixels as they stand in the file; Rejected says why it cannot.
    """

    file: Path
    frame: int = 0
    kind: str
    series: str
    number: str = ""
    description: str = ""
    patient: str = ""
    shape: tuple[int, int]
    pixel_mm: float
    place: Place | None = None
    thickness_mm: float | None = None
    kvp: float | None = None
    mas: float | None = None
    kernel: str | None = None
    derived: bool = False
    notes: tuple[str, ...] = ()
    load: Callable[[], Pixels]

    @property
    def where(self) -> str:
        """Its file, and the frame in it, for a message."""
        return f"{self.file}, plane {self.frame + 1}" if self.frame else str(self.file)

    @property
    def standing(self) -> tuple[int, int]:
        """(height, width) once it is turned."""
        return self.shape[::-1] if self.place is not None and self.place.turn.transpose else self.shape

    def read(self) -> Pixels:
        """Its pixels, turned (`Turn.of`)."""
        pixels = self.load()
        return pixels if self.place is None else self.place.turn.of(pixels)


class Left(NamedTuple):
    """What was not taken: a file (or a plane of it), and why. The cause holds nothing of the file's name."""

    where: str
    cause: str


class Stated(Strict, frozen=True, kw_only=True):
    """What the user states because files do not: `low` and `normal` are patterns of the two scans' series, `patient`
    a regular expression whose first group is the patient in a file's path, `paired` whether the k-th planes of both
    doses are one plane; HU = `slope` x value + `intercept`."""

    low: tuple[str, ...] = ()
    normal: tuple[str, ...] = ()
    patient: str | None = None
    slope: float | None = None
    intercept: float | None = None
    pixel_mm: float | None = None
    paired: bool | None = None

    @property
    def scale(self) -> tuple[float, float] | None:
        """Slope and intercept, or None where neither is stated."""
        if self.slope is None and self.intercept is None:
            return None
        if self.slope is None or self.intercept is None:
            raise UsageError(
                "--slope and --intercept belong together", fix="state both: HU = slope x value + intercept"
            )
        return self.slope, self.intercept


def bytes_of(path: Path) -> bytes:
    """The bytes of a stranger's file; Rejected where it has more than MOST_BYTES."""
    try:
        return read_regular(path, at_most=MOST_BYTES)
    except UsageError:
        raise Rejected(f"has more than {MOST_BYTES >> 30} GiB") from None


def one_spacing(down: float, across: float) -> float:
    """The pixel size of a plane from its two; Rejected where they differ, or are none."""
    if not (math.isfinite(down) and math.isfinite(across) and down > 0 and across > 0):
        raise Rejected("states a pixel size that is none")
    if abs(down - across) > 1e-3 * down:
        raise Rejected(f"has pixels of {down:g} x {across:g} mm, and square ones are expected")
    return down


def place_of(
    along_row: NDArray[np.float64],
    along_column: NDArray[np.float64],
    first: NDArray[np.float64],
    *,
    shape: tuple[int, int],
    pixel_mm: float,
) -> Place:
    """The place of a plane whose first pixel has the centre `first`; `along_row` and `along_column` are the directions
    in which the column and the row index grow. Rejected where they span no axial plane."""
    vectors = np.stack([along_row, along_column, first])
    lengths = np.linalg.norm(vectors[:2], axis=1)
    if not (np.abs(vectors) <= MOST_MM).all() or abs(lengths - 1).max() > 0.01 or abs(along_row @ along_column) > 0.01:
        raise Rejected("states an orientation or a position that is none")
    normal = np.cross(along_row, along_column)
    normal = normal if normal[2] >= 0 else -normal
    tilt = math.degrees(math.acos(min(1.0, float(normal[2]))))
    if tilt > MOST_TILT:
        raise Rejected(f"is no axial plane (its normal is {tilt:.0f} degrees off the patient's axis)")
    transpose = bool(abs(along_row[0]) < abs(along_row[1]))
    right, down = (along_column, along_row) if transpose else (along_row, along_column)
    turn = Turn(transpose, bool(down[1] < 0), bool(right[0] < 0))
    rotation = math.degrees(math.atan2(abs(right[1]), abs(right[0])))
    if rotation > MOST_ROTATION:
        raise Rejected(f"is rotated by {rotation:.0f} degrees about the patient's axis")
    notes = []
    if tilt > SEEN:
        notes.append(f"tilted by {tilt:.1f} degrees (gantry): planes left as scanned, not sheared")
    if rotation > SEEN:
        notes.append(f"rotated by {rotation:.1f} degrees about the patient's axis: left so")
    if turn != Turn():
        notes.append("turned: front up, the patient's right on the left")
    rows, columns = shape
    centre = first + pixel_mm * ((columns - 1) / 2 * along_row + (rows - 1) / 2 * along_column)
    return Place(float(centre @ normal), (float(centre[0]), float(centre[1])), turn, tilt > SEEN, tuple(notes))
