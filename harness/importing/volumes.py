"""Volumes: NIfTI and MetaImage files, whose planes lie in one array -> planes."""

from __future__ import annotations

import functools
import itertools
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.base.png import MOST_PIXELS, Rejected
from harness.importing.hounsfield import to_hu
from harness.importing.planes import MOST_BYTES, MOST_VOXELS, Pixels, Plane, bytes_of, one_spacing, place_of

Array = NDArray[Any]
SAME = 0.5
"""Millimetres by which two statements of one place may differ: single precision, quaternions."""


class Grid(NamedTuple):
    """Where a volume's voxels lie: steps in mm along each index as rows of (3, 3), and the centre of the first."""

    shape: tuple[int, int, int]
    steps: NDArray[np.float64]
    first: NDArray[np.float64]


class Volume(NamedTuple):
    """The stored values of a volume, and HU = slope x value + intercept."""

    values: Array
    slope: float
    intercept: float


def nifti_planes(root: Path, file: Path) -> list[Plane]:
    """The planes of a .nii or .nii.gz. Rejected where it is damaged, no single volume, or states no orientation."""
    return _planes(root, file, "nifti", _nifti_grid(root / file), _nifti)


def meta_planes(root: Path, file: Path) -> list[Plane]:
    """The planes of a .mha, or of a .mhd with its pixels beside it; Rejected as `nifti_planes`."""
    return _planes(root, file, "metaimage", _meta_grid(_meta_header(root / file)[0]), _meta)


def _planes(root: Path, file: Path, kind: str, grid: Grid, read: Callable[[Path], Volume]) -> list[Plane]:
    if min(grid.shape) < 1 or math.prod(grid.shape) > MOST_VOXELS:
        raise Rejected("states a size that is none, or too large a one")
    lengths = np.linalg.norm(grid.steps, axis=1)
    if not np.isfinite(grid.steps).all() or lengths.min() <= 0:
        raise Rejected("states steps between its voxels that are none")
    directions = grid.steps / lengths[:, None]
    through = int(np.argmax(np.abs(directions[:, 2])))
    down, across = (axis for axis in range(3) if axis != through)
    shape = (grid.shape[down], grid.shape[across])
    if math.prod(shape) > MOST_PIXELS:
        raise Rejected(f"has planes of {shape[0]} x {shape[1]} pixels")
    pixel_mm = one_spacing(float(lengths[down]), float(lengths[across]))
    found = []
    for index in range(grid.shape[through]):
        first = grid.first + index * grid.steps[through]
        place = place_of(directions[across], directions[down], first, shape=shape, pixel_mm=pixel_mm)
        found.append(
            Plane(
                file=file,
                frame=index,
                kind=kind,
                series=str(file),
                shape=shape,
                pixel_mm=pixel_mm,
                place=place,
                notes=place.notes,
                load=functools.partial(_load, read, root / file, through, index),
            )
        )
    return found


def _load(read: Callable[[Path], Volume], path: Path, through: int, index: int) -> Pixels:
    volume = read(path)
    values = volume.values.take(index, axis=through)
    values = values.astype(np.int64 if values.dtype.kind in "iu" else np.float64)
    none = np.zeros(values.shape, np.bool_)
    return to_hu(values, slope=volume.slope, intercept=volume.intercept, stated=None, beyond=none)


def _open_nifti(path: Path) -> Any:
    import nibabel

    try:
        image = nibabel.load(path)
    except Exception as error:  # of a stranger's bytes: it raises all kinds of errors
        raise Rejected(f"is damaged: its header cannot be read ({type(error).__name__})") from error
    if not isinstance(image, nibabel.Nifti1Image):
        raise Rejected("is no NIfTI file")
    return image


def _nifti_grid(path: Path) -> Grid:
    image = _open_nifti(path)
    shape = image.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise Rejected(f"has the shape {image.shape}, and one volume is expected")
    if image.get_data_dtype().kind not in "iuf" or image.get_data_dtype().itemsize > 8:
        raise Rejected("holds colours or complex numbers")
    if not (int(image.header["qform_code"]) or int(image.header["sform_code"])):
        raise Rejected("states no orientation (qform_code and sform_code are 0)")
    if (unit := image.header.get_xyzt_units()[0]) not in ("mm", "unknown"):
        raise Rejected(f"is measured in {unit}, and mm are expected")
    to_left_and_back = np.array([-1.0, -1.0, 1.0])  # its x grows to the right, its y to the front
    affine = np.asarray(image.affine, np.float64)
    places = [_corners(one, shape) for one, code in (image.get_sform(coded=True), image.get_qform(coded=True)) if code]
    if np.abs(places[0] - places[-1]).max() > SAME:
        raise Rejected("states two places that differ (sform and qform)")
    if math.prod(shape) * image.get_data_dtype().itemsize > MOST_BYTES:
        raise Rejected(f"unpacks to more than {MOST_BYTES >> 30} GiB")
    return Grid(shape, affine[:3, :3].T * to_left_and_back, affine[:3, 3] * to_left_and_back)


def _corners(affine: Array, shape: tuple[int, ...]) -> Array:
    """Where the corners of a volume lie, in mm: (8, 3)."""
    corners = np.array(list(itertools.product(*((0, side - 1) for side in shape))))
    return np.asarray(corners @ affine[:3, :3].T + affine[:3, 3])


@functools.lru_cache(maxsize=2)
def _nifti(path: Path) -> Volume:
    image = _open_nifti(path)
    try:
        values = np.asarray(image.dataobj.get_unscaled())
    except Exception as error:
        raise Rejected(f"is damaged: its values cannot be read ({type(error).__name__})") from error
    return Volume(values.reshape(image.shape[:3]), float(image.dataobj.slope), float(image.dataobj.inter))


META_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
MOST_HEADER = 64 * 1024
ALIASES = {
    "Origin": "Offset", "Position": "Offset", "Rotation": "TransformMatrix", "Orientation": "TransformMatrix",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}  # fmt: skip


def _meta_header(path: Path) -> tuple[dict[str, str], bytes]:
    """The fields of a MetaImage's header, aliases resolved, and what follows it in the file."""
    data = bytes_of(path)
    fields: dict[str, str] = {}
    at = 0
    while at < min(len(data), MOST_HEADER):
        end = data.find(b"\n", at, MOST_HEADER)
        line = data[at : end if end >= 0 else len(data)].decode("latin-1")
        at = end + 1 if end >= 0 else len(data)
        key, equals, value = line.partition("=")
        if not equals:
            raise Rejected("is no MetaImage: a line of its header is not KEY = VALUE")
        fields[ALIASES.get(key.strip(), key.strip())] = value.strip()
        if key.strip() == "ElementDataFile":
            return fields, data[at:]
    raise Rejected("is no MetaImage: its header names no ElementDataFile")


def _meta_numbers(fields: dict[str, str], key: str, count: int) -> NDArray[np.float64]:
    try:
        found = np.array([float(one) for one in fields[key].split()])
    except (KeyError, ValueError):
        found = np.empty(0)
    if found.size != count or not np.isfinite(found).all():
        raise Rejected(f"does not state {count} numbers as {key}")
    return found


def _meta_true(fields: dict[str, str], key: str, otherwise: str = "False") -> bool:
    """As ITK reads it: by the first letter."""
    return fields.get(key, otherwise)[:1] in ("T", "t", "1")


def _meta_grid(fields: dict[str, str]) -> Grid:
    if fields.get("NDims") != "3" or fields.get("ElementNumberOfChannels", "1") != "1":
        raise Rejected("is no single volume of one channel (NDims, ElementNumberOfChannels)")
    shape = [int(one) for one in _meta_numbers(fields, "DimSize", 3)]
    steps = _meta_numbers(fields, "ElementSpacing", 3)[:, None] * _meta_numbers(fields, "TransformMatrix", 9).reshape(
        3, 3
    )
    return Grid((shape[0], shape[1], shape[2]), steps, _meta_numbers(fields, "Offset", 3))


@functools.lru_cache(maxsize=2)
def _meta(path: Path) -> Volume:
    fields, rest = _meta_header(path)
    kind = META_TYPES.get(fields.get("ElementType", ""))
    if kind is None or not _meta_true(fields, "BinaryData", "True"):
        raise Rejected("holds no binary whole or real numbers (ElementType, BinaryData)")
    for key, usual in (("ElementToIntensityFunctionSlope", 1.0), ("ElementToIntensityFunctionOffset", 0.0)):
        if key in fields and _meta_numbers(fields, key, 1)[0] != usual:
            raise Rejected(f"states that its values are not its intensities ({key}): apply it and remove it")
    name = fields["ElementDataFile"]
    if name != "LOCAL":
        beside = path.parent / name
        if Path(name).name != name or not beside.is_file():
            raise Rejected("names pixels that are no file beside it (ElementDataFile)")
        rest = bytes_of(beside)
    shape = _meta_grid(fields).shape
    dtype = np.dtype(kind).newbyteorder(">" if _meta_true(fields, "BinaryDataByteOrderMSB") else "<")
    size = math.prod(shape) * dtype.itemsize
    if _meta_true(fields, "CompressedData"):
        try:
            rest = zlib.decompressobj(32 + 15).decompress(rest, size + 1)
        except zlib.error as error:
            raise Rejected(f"is damaged: its pixels cannot be read ({error})") from None
    elif (skipped := fields.get("HeaderSize", "0")) != "0":
        if not skipped.isdigit():  # -1: the pixels are the file's end
            skipped = str(max(0, len(rest) - size))
        rest = rest[int(skipped) :]
    if len(rest) != size:
        raise Rejected(f"holds {len(rest)} bytes of pixels, and its size takes {size}")
    return Volume(np.frombuffer(rest, dtype).reshape(shape[::-1]).transpose(2, 1, 0), 1.0, 0.0)
