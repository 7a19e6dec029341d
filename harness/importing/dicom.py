"""DICOM: files of CT images, single- and multi-frame -> planes. Nothing of pydicom is loaded before a file needs it."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import struct
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.base.errors import UsageError
from harness.base.png import MOST_PIXELS, Rejected
from harness.importing.hounsfield import AIR_HU, to_hu
from harness.importing.planes import MOST_BYTES, SEEN, Pixels, Plane, Stated, bytes_of, one_spacing, place_of

if TYPE_CHECKING:
    from pydicom import Dataset

MOST_FRAMES = 20_000
CT, MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.2", ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
DEFLATED, HEAD = b"1.2.840.10008.1.2.1.99", 1 << 20
JPEG_2000 = ("1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203")
LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81")
DECODERS = {
    "1.2.840.10008.1.2.4.57": "python-gdcm",  # lossless JPEG
    "1.2.840.10008.1.2.4.70": "python-gdcm",
    "1.2.840.10008.1.2.4.80": "pyjpegls",
}
"""The packages that decode what is compressed without loss; JPEG 2000 is left."""
HU_TYPES = frozenset({"HU", "US", ""})
"""RescaleType of Hounsfield units: an image that states none has them (PS3.3, C.11.1.1.2), US is "unspecified"."""

WANTED = (
    *("SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "PatientID", "PatientPosition", "PixelSpacing"),
    *("ImageOrientationPatient", "ImagePositionPatient", "ImageType", "FrameType", "SliceThickness", "KVP"),
    *("Exposure", "ExposureInmAs", "ExposureInuAs", "ConvolutionKernel", "RescaleType", "RescaleSlope"),
    *("RescaleIntercept", "PixelPaddingValue", "PixelPaddingRangeLimit", "PixelRepresentation", "BitsStored"),
    *("PhotometricInterpretation", "GantryDetectorTilt"),
)
"""The attributes that are read of a plane; nothing else of a file is looked at."""
MACROS = (
    *("UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence"),
    *("PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence", "PixelValueTransformationSequence"),
    *("CTImageFrameTypeSequence", "CTExposureSequence", "CTXRayDetailsSequence", "CTReconstructionSequence"),
    "CTAcquisitionDetailsSequence",
)
"""The functional groups with these, the most general first; others (sources, private ones) speak of other images."""
Facts = Mapping[str, Any]


@contextlib.contextmanager
def _pydicom(what: str) -> Iterator[Any]:
    """pydicom, silent, and whatever it does with a stranger's bytes as Rejected: it raises all kinds of errors."""
    import pydicom

    with warnings.catch_warnings(action="ignore"):
        pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
        try:
            yield pydicom
        except (Rejected, UsageError, MemoryError):
            raise
        except Exception as error:
            raise Rejected(f"is damaged: {what} cannot be read ({type(error).__name__})") from error


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins so says that it is DICOM."""
    return head[128:132] == b"DICM"


@functools.lru_cache(maxsize=2)  # a multi-frame file of each dose; they are read frame by frame
def _whole(path: Path) -> Dataset:
    with _pydicom("the file") as pydicom:
        found: Dataset = pydicom.dcmread(io.BytesIO(bytes_of(path)), force=True)
        return found


def planes_of(root: Path, file: Path, stated: Stated) -> list[Plane]:
    """The planes of a DICOM file, of one that says so or of one that somebody named so. Rejected where it holds no CT
    image that can be taken."""
    if (root / file).stat().st_size > MOST_BYTES:
        raise Rejected(f"has more than {MOST_BYTES >> 30} GiB")
    with _pydicom("its header") as pydicom, (root / file).open("rb") as opened:
        if DEFLATED in opened.read(HEAD):  # pydicom would unpack it to any size
            raise Rejected("is deflated as a whole, which is not read: save it uncompressed")
        opened.seek(0)
        header = pydicom.dcmread(opened, stop_before_pixels=True, force=True)
        kind = str(header.get("SOPClassUID", ""))
        if kind not in (CT, *MULTI_FRAME):
            raise Rejected(f"is no CT image: {_class_name(kind)}")
        _refuse_file(header)
        shape = (int(header.Rows), int(header.Columns))
        if not 0 < shape[0] * shape[1] <= MOST_PIXELS:
            raise Rejected(f"states {shape[0]} x {shape[1]} pixels")
        frames = int(header.get("NumberOfFrames") or 1)
        if kind == CT and frames > 1:
            raise Rejected(f"has {frames} frames and the position of none (a CT image of the old kind has one)")
        if not 0 < frames <= MOST_FRAMES:
            raise Rejected(f"states {frames} frames")
        facts = [_known(header)] if kind == CT else _of_frames(header)
        if len(facts) != frames:
            raise Rejected(f"states {frames} frames and describes {len(facts)}")
        return [_plane(root, file, index, each, shape, stated) for index, each in enumerate(facts)]


def _class_name(uid: str) -> str:
    from pydicom.uid import UID

    name = UID(uid).name
    return name if name != uid else "another kind of object, or no DICOM at all"


def _known(dataset: Dataset) -> dict[str, Any]:
    return {key: dataset.get(key) for key in WANTED if key in dataset}


def _of_frames(header: Dataset) -> list[dict[str, Any]]:
    """The attributes of each frame: its own, else those that all frames share, else the file's."""

    def flat(group: Dataset) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for macro in MACROS:
            if items := group.get(macro):
                found |= _known(items[0])
        return found

    shared = _known(header)
    for group in header.get("SharedFunctionalGroupsSequence", ()):
        shared |= flat(group)
    return [{**shared, **flat(group)} for group in header.PerFrameFunctionalGroupsSequence]


def _refuse_file(header: Dataset) -> None:
    """Rejected for what a whole file is: not 16 bits, lossy, with writing in its pixels, of no decoder."""
    bits = (header.get("BitsAllocated"), header.get("SamplesPerPixel", 1), header.get("HighBit"))
    if bits != (16, 1, int(header.get("BitsStored", 0)) - 1):
        raise Rejected("is not grey of 16 bits in the usual order (BitsAllocated 16, HighBit = BitsStored - 1)")
    if "ModalityLUTSequence" in header:
        raise Rejected("has a look-up table in place of slope and intercept (ModalityLUTSequence)")
    if header.get("BurnedInAnnotation") == "YES":
        raise Rejected("says that something is written into its pixels (BurnedInAnnotation)")
    syntax = str(header.file_meta.get("TransferSyntaxUID", ""))
    lossless = str(header.get("LossyImageCompression", "")) == "00"
    if str(header.get("LossyImageCompression", "")) == "01" or syntax in LOSSY:
        raise Rejected("was compressed with loss, which changes the noise")
    if syntax in JPEG_2000 and not lossless:
        raise Rejected("may have been compressed with loss: JPEG 2000 that does not state LossyImageCompression 00")
    _need_decoder(syntax)


def _need_decoder(syntax: str) -> None:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    if not syntax or not UID(syntax).is_compressed:
        return
    try:
        decoder = get_decoder(UID(syntax))
    except NotImplementedError:
        raise Rejected("is compressed in a way that pydicom does not read") from None
    if not decoder.is_available:
        package = DECODERS.get(syntax, "pylibjpeg pylibjpeg-openjpeg")
        raise Rejected(f"is compressed as {UID(syntax).name}, whose decoder is missing: pip install {package}")


def _plane(root: Path, file: Path, frame: int, facts: Facts, shape: tuple[int, int], stated: Stated) -> Plane:
    spacing = _numbers(facts, "PixelSpacing", 2)
    pixel_mm = one_spacing(*spacing) if spacing else stated.pixel_mm
    if pixel_mm is None:
        raise Rejected("states no PixelSpacing: give --pixel-mm")
    directions, first = _numbers(facts, "ImageOrientationPatient", 6), _numbers(facts, "ImagePositionPatient", 3)
    kinds = _kinds(facts)
    if not directions or not first:
        raise Rejected("states no ImageOrientationPatient or ImagePositionPatient, so its place is unknown")
    place = place_of(
        np.array(directions[:3]), np.array(directions[3:]), np.array(first), shape=shape, pixel_mm=pixel_mm
    )
    scale = _scale(facts, stated)
    padding = _padding(facts)
    micro = _positive(facts, "ExposureInuAs")
    return Plane(
        file=file,
        frame=frame,
        kind="dicom",
        series=str(facts.get("SeriesInstanceUID") or file.parent),
        number=str(facts.get("SeriesNumber") or ""),
        description=str(facts.get("SeriesDescription") or ""),
        patient=str(facts.get("PatientID") or "").strip(),
        shape=shape,
        pixel_mm=pixel_mm,
        place=place,
        thickness_mm=_positive(facts, "SliceThickness"),
        kvp=_positive(facts, "KVP"),
        mas=_positive(facts, "Exposure") or _positive(facts, "ExposureInmAs") or (micro / 1000 if micro else None),
        kernel=_kernel(facts),
        derived=kinds[:1] == ["DERIVED"],
        notes=(*place.notes, *_notes(facts, tilted=place.tilted)),
        load=functools.partial(_load, root / file, frame, scale, padding, shape=shape, stored=_stored(facts)),
    )


def _kinds(facts: Facts) -> list[str]:
    """The image type's words; Rejected where they say that it is no plane of a scan."""
    kinds = [str(one).upper() for one in facts.get("FrameType") or facts.get("ImageType") or []]
    for word, what in (("LOCALIZER", "a localizer"), ("SECONDARY", "a secondary image")):
        if word in kinds[1:]:
            raise Rejected(f"is {what} (ImageType)")
    calculated = ("MPR", "REFORMATTED", "PROJECTION", "MIP", "MIN_IP", "AVERAGE", "PERFUSION", "SUBTRACT")
    for kind in kinds[2:]:
        if any(word in kind for word in calculated) and kinds[0] == "DERIVED":
            raise Rejected("is calculated from other images (ImageType: MPR, projection or the like)")
    return kinds


def _scale(facts: Facts, stated: Stated) -> tuple[float, float]:
    """Slope and intercept of a plane; the file's own count, the user's are for files without."""
    if str(facts.get("RescaleType") or "").upper() not in HU_TYPES:
        raise Rejected("says that its values are no HU (RescaleType)")
    slope, intercept = _number(facts, "RescaleSlope"), _number(facts, "RescaleIntercept")
    if slope is not None and intercept is not None:
        if slope <= 0:
            raise Rejected(f"has the slope {slope:g} (RescaleSlope)")
        return slope, intercept
    if stated.scale is None:
        raise Rejected("states no RescaleSlope and RescaleIntercept: give --slope and --intercept")
    return stated.scale


def _padding(facts: Facts) -> tuple[int, int] | None:
    """The range of stored values that are padding. The tags have the sign of the pixels, and some writers' have not."""
    ends = [_number(facts, key) for key in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if ends[0] is None:
        return None
    signed = bool(facts.get("PixelRepresentation", 0))
    whole = [int(end) & 0xFFFF for end in ends if end is not None]
    low, high = min(whole), max(whole)
    if signed:
        turned = [value - 0x10000 if value >= 0x8000 else value for value in whole]
        low, high = min(turned), max(turned)
    return low, high


def _stored(facts: Facts) -> tuple[int, bool]:
    bits = int(facts.get("BitsStored") or 0)
    if not 8 < bits <= 16:
        raise Rejected(f"holds {bits} bits")
    return bits, bool(facts.get("PixelRepresentation"))


def _notes(facts: Facts, *, tilted: bool) -> Iterator[str]:
    if str(facts.get("PhotometricInterpretation")) == "MONOCHROME1":
        yield "MONOCHROME1: shown inverted; its HU are not"
    if not tilted and abs(_number(facts, "GantryDetectorTilt") or 0.0) > SEEN:
        yield "states a tilted gantry, and an orientation that is not: planes left as scanned"
    place = str(facts.get("PatientPosition") or "").upper()
    if place[2:] in ("P", "DL", "DR"):
        yield f"scanned lying {'prone' if place[2:] == 'P' else 'on the side'}: the table is not at the bottom"
    if place[:2] == "FF":
        yield "scanned feet first"


def _kernel(facts: Facts) -> str | None:
    found = facts.get("ConvolutionKernel")
    words = [found] if isinstance(found, str) else [str(one) for one in found or []]
    return " ".join(word for word in words if word) or None


def _number(facts: Facts, key: str) -> float | None:
    found = _numbers(facts, key, 1)
    return found[0] if found else None


def _positive(facts: Facts, key: str) -> float | None:
    found = _number(facts, key)
    return found if found is not None and found > 0 else None


def _numbers(facts: Facts, key: str, count: int) -> list[float]:
    """`count` numbers of an attribute, or none where it is absent or empty; Rejected where it holds something else."""
    found = facts.get(key)
    if found is None or found == "":
        return []
    try:
        values = [float(found)] if isinstance(found, str | int | float) else [float(one) for one in found]
    except (TypeError, ValueError):
        values = []
    if len(values) != count or not all(map(math.isfinite, values)):
        raise Rejected(f"holds something else than {count} numbers in {key}")
    return values


def _refuse_size(dataset: Dataset, frame: int) -> None:
    """Rejected where the pixels are not as many as stated: of too many, pydicom and gdcm take the first."""
    from pydicom.encaps import get_frame

    rows, columns, frames = int(dataset.Rows), int(dataset.Columns), int(dataset.get("NumberOfFrames") or 1)
    length, size = len(dataset.PixelData), 2 * rows * columns * frames
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        found = _coded_size(get_frame(dataset.PixelData, frame, number_of_frames=frames))
        if found not in (None, (rows, columns)):
            raise Rejected("holds pixels of another size than it states")
    elif length != size:
        raise Rejected(f"holds {length} bytes of pixels, and its size takes {size}")


def _coded_size(code: bytes) -> tuple[int, int] | None:
    """(rows, columns) of a codestream of JPEG, JPEG-LS or JPEG 2000; None for others
    (RLE has none)."""
    if code.startswith(b"\xff\x4f\xff\x51"):  # JPEG 2000: the far corner of the image, and the near one
        right, bottom, left, top = struct.unpack_from(">4I", code, 8)
        return bottom - top, right - left
    at = 2
    while code.startswith(b"\xff\xd8") and code[at] == 0xFF:
        marker, length = struct.unpack_from(">xBH", code, at)
        if marker in (0xC3, 0xF7):  # a frame of lossless JPEG, of JPEG-LS
            rows, columns = struct.unpack_from(">2H", code, at + 5)
            return rows, columns
        at += 2 + length
    return None


def _load(
    path: Path,
    frame: int,
    scale: tuple[float, float],
    padding: tuple[int, int] | None,
    *,
    shape: tuple[int, int],
    stored: tuple[int, bool],
) -> Pixels:
    bits, signed = stored
    with _pydicom("its pixels"):
        from pydicom.pixels.utils import pixel_array
        from pydicom.uid import UID

        dataset = _whole(path)
        if "TransferSyntaxUID" not in dataset.file_meta:  # a file without preamble: pydicom has found it out
            implicit, little = dataset.original_encoding
            plain = "1.2.840.10008.1.2"
            dataset.file_meta.TransferSyntaxUID = UID(plain if implicit else f"{plain}.{1 if little else 2}")
        _refuse_size(dataset, frame)
        # the unused bits are looked at below: cut off, padding of 16 bits in 12 would turn into tissue
        values = pixel_array(dataset, index=frame, raw=True, correct_unused_bits=False).astype(np.int64)
    if values.shape != shape:
        raise Rejected("holds pixels of another size than it states")
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    below_zero = signed and scale[1] > AIR_HU[1]  # else all that is stored below 0 is darker than air
    if below_zero and values.max() > high and values.min() >= 0 and values.max() < 1 << bits:
        values[values > high] -= 1 << bits  # the sign's bit was not carried into the unused ones
    beyond = (values < low) | (values > high)
    return to_hu(values, slope=scale[0], intercept=scale[1], stated=padding, beyond=beyond)
