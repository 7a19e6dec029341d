"""Images: files that hold numbers and nothing about them -> planes: .npy, .npz, 16-bit PNG and TIFF.

Their pixel size, and the slope and intercept of PNG and TIFF, are the user's; their place is unknown.
"""

from __future__ import annotations

import functools
import io
import math
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.base.png import MOST_PIXELS, Rejected
from harness.importing.hounsfield import to_hu
from harness.importing.planes import MOST_BYTES, MOST_VOXELS, Pixels, Plane, Stated, bytes_of

Array = NDArray[Any]
LONGEST = 2
"""Times its width that an axial plane of a body is high, or the other way round, at most."""
AS_IT_STANDS = "states no orientation: taken to stand with the front up and the patient's right on the left"


def array_planes(root: Path, file: Path, stated: Stated) -> list[Plane]:
    """The planes of a .npy or .npz: one array in HU, (rows, columns) or (planes, rows, columns).

    Rejected for several arrays, other shapes, objects, and where the pixel size is not stated.
    """
    return _planes(root, file, "numpy", _array(root / file), stated, scale=stated.scale or (1.0, 0.0))


def image_planes(root: Path, file: Path, stated: Stated) -> list[Plane]:
    """The planes of a 16-bit grey PNG or TIFF; Rejected for 8 bits, colours, and where the scale is not stated."""
    values = _image(root / file)
    if stated.scale is None:
        raise Rejected("is an image whose HU nobody states: give --slope and --intercept")
    return _planes(root, file, "image", values, stated, scale=stated.scale)


def _planes(
    root: Path, file: Path, kind: str, values: Array, stated: Stated, *, scale: tuple[float, float]
) -> list[Plane]:
    if stated.pixel_mm is None:
        raise Rejected("states no pixel size: give --pixel-mm")
    across = sorted(values.shape[1:])
    if values.ndim == 3 and (values.shape[0] == values.shape[1] != values.shape[2] or across[1] > LONGEST * across[0]):
        raise Rejected(f"has the shape {values.shape}: planes last? (planes, rows, columns) is expected")
    if values.ndim not in (2, 3) or not 0 < math.prod(values.shape[-2:]) <= MOST_PIXELS:
        raise Rejected(f"has the shape {values.shape}: (rows, columns) or (planes, rows, columns) is expected")
    read = _array if kind == "numpy" else _image
    return [
        Plane(
            file=file,
            frame=index,
            kind=kind,
            series=str(file if values.ndim == 3 else file.parent),
            shape=(values.shape[-2], values.shape[-1]),
            pixel_mm=stated.pixel_mm,
            notes=(AS_IT_STANDS,),
            load=functools.partial(_load, read, root / file, index, scale),
        )
        for index in range(values.shape[0] if values.ndim == 3 else 1)
    ]


def _load(read: Any, path: Path, index: int, scale: tuple[float, float]) -> Pixels:
    values = read(path)
    values = values[index] if values.ndim == 3 else values
    values = values.astype(np.int64 if values.dtype.kind in "iu" else np.float64)
    none = np.zeros(values.shape, np.bool_)
    return to_hu(values, slope=scale[0], intercept=scale[1], stated=None, beyond=none)


@functools.lru_cache(maxsize=2)
def _array(path: Path) -> Array:
    data = bytes_of(path)
    try:
        if data.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(data)) as packed:
                entries = packed.infolist()
            if len(entries) != 1:
                raise Rejected(f"holds {len(entries)} arrays, and one is expected")
            if entries[0].file_size > MOST_BYTES:
                raise Rejected("unpacks to more than 4 GiB")
        found = np.load(io.BytesIO(data), allow_pickle=False)
        found = found[found.files[0]] if isinstance(found, np.lib.npyio.NpzFile) else found
    except Rejected:
        raise
    except Exception as error:  # of a stranger's bytes: it raises all kinds of errors
        raise Rejected(f"is no NumPy array of numbers ({type(error).__name__})") from error
    if found.dtype.kind not in "iuf":
        raise Rejected("holds no whole or real numbers")
    return np.asarray(found)


@functools.lru_cache(maxsize=2)
def _image(path: Path) -> Array:
    from PIL import Image, ImageSequence

    data = bytes_of(path)
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=["PNG", "TIFF"]) as image:
            if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
                raise Rejected(f"is no grey image of 16 bits (PIL's mode {image.mode}): 8 bits hold no HU")
            if math.prod(image.size) * getattr(image, "n_frames", 1) > MOST_VOXELS:
                raise Rejected("states too large a size")
            pages = [np.asarray(page) for page in ImageSequence.Iterator(image)]
    except Rejected:
        raise
    except Exception as error:
        raise Rejected(f"is damaged: its pixels cannot be read ({type(error).__name__})") from error
    if len({page.shape for page in pages}) != 1:
        raise Rejected("has pages of several sizes")
    return np.stack(pages) if len(pages) > 1 else pages[0]
