"""Pictures: a few slices of a record as files that a page can show: input, output, label, truth and regions.

They keep the whole range of grey, so that a page can choose the window, and are cut to the patient. How a picture is
compressed depends on its size alone: records that show the same slice share the files of its input, label and truth.
`pictures.json` says what compression changed. Scores are never computed from pictures.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import cv2
import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray
from PIL import Image

from harness.base.slices import read_image
from harness.base.structs import Strict, canonical_json
from harness.dataset.cases import Case, Dataset
from harness.imaging.anatomy import ANATOMIES, Anatomy
from harness.imaging.hounsfield import grey
from harness.imaging.montage import montage, reading_window
from harness.imaging.regions import Code, Region, shrink
from harness.labels.label_set import LabelSet
from harness.protocol import FidelityGate
from harness.scoring.attachment_names import PICTURES, STRIP
from harness.scoring.bias_map import BiasMap, bias_map
from harness.scoring.per_slice import SliceValue
from harness.scoring.score import Scorecard

LOSSLESS, QUALITY = 100, 95  # of WebP

LOSSLESS_PIXELS = 256 * 256  # pictures of at most so many pixels are lossless

MARGIN = 8  # pixels around the patient

STRIP_SLICE, STRIP_SIDE = 256, 96  # pixels of height that a slice is scaled to, and of the square cut from it

STRIP_QUALITY = 70  # of WebP; about 6 kB

REGION_COLOURS: dict[Region, str] = {
    # Okabe & Ito's palette, which the colour-blind can tell apart; later regions lie over earlier ones
    "background": "#56b4e9",
    "body": "#e69f00",
    "lung": "#009e73",
    "table": "#cc79a7",
    "boundary": "#f0e442",
    "nodules": "#d55e00",
    # of abdomen and head, which have neither lung nor nodules, over `body`: Tol's muted palette
    "gas": "#332288",
    "soft": "#cc6677",
    "fat": "#ddcc77",
    "bone": "#dddddd",
    "brain": "#0072b2",
}

Role = Literal["worst", "median", "best"]

FileName = Annotated[str, msgspec.Meta(pattern=r"^[a-z]+-[a-z]+\.(webp|png)\Z")]


class Slice(Strict, frozen=True, kw_only=True):
    """One slice: why it was chosen, its value of the metric that it was chosen by, kind of picture -> file.

    `crop` is where the pictures lie in the slice: row and column of the first pixel, height and width.
    """

    role: Role
    case: str
    patient: str
    value: float
    crop: tuple[int, int, int, int]
    files: dict[str, FileName]


class Pictures(Strict, frozen=True, kw_only=True):
    """`pictures.json`: the slices, the metric that chose them, and what compression changed.

    `quality` is WebP's lowest, 100 for lossless; `error` the mean absolute difference that it made, in grey levels.
    """

    schema: Literal[1] = 1
    metric: str
    region: str
    reference: str
    window_hu: tuple[float, float] | None
    quality: int
    error: float
    slices: tuple[Slice, ...]
    bias: BiasMap | UnsetType = UNSET  # where planes were scanned several times


def make_pictures(
    dataset: Dataset,
    labels: LabelSet,
    outputs: Mapping[str, Path],
    card: Scorecard,
    gate: FidelityGate,
    *,
    anatomy: Anatomy = "chest",
) -> dict[str, bytes]:
    """Attachments of a record, file name -> bytes: `strip.webp`, `pictures.json` and what it names."""
    cases = {case.name: case for case in dataset.cases}
    files: dict[str, bytes] = {}
    slices, qualities, errors = [], [LOSSLESS], []
    for role, one in choose(card.slices, (card.gate.reference, gate.metric, gate.region)):
        case = cases[one.case]
        codes = labels.regions(case)
        top, left, height, width = crop = patient_box(codes)
        window = np.s_[top : top + height, left : left + width]
        paths = _paths(case, labels, outputs)
        names: dict[str, str] = {kind: f"{role}-{kind}.webp" for kind in paths}
        for kind, path in paths.items():
            image = grey(read_image(path), dataset.window_hu)[window]
            files[names[kind]], quality, error = compress(image)
            qualities.append(quality)
            errors.append(error)
        names["regions"] = f"{role}-regions.png"
        files[names["regions"]] = _regions_png(codes, window, anatomy)
        assert one.value is not None, "choose takes no slice without value"
        slices.append(
            Slice(
                role=role, case=one.case, patient=one.patient, value=float(f"{one.value:.7g}"), crop=crop, files=names
            )
        )
    of_bias = bias_map(outputs, dataset, box=lambda case: patient_box(labels.regions(case)))
    if of_bias is not None:
        files[of_bias.facts.file] = of_bias.picture
    pictures = Pictures(
        metric=gate.metric,
        region=gate.region,
        reference=card.gate.reference,
        window_hu=dataset.window_hu,
        quality=min(qualities),
        error=round(float(np.mean(errors)), 3) if errors else 0.0,
        slices=tuple(slices),
        bias=UNSET if of_bias is None else of_bias.facts,
    )
    return files | {PICTURES: canonical_json(pictures), STRIP: _strip(dataset, labels, outputs, anatomy)}


def choose(slices: Sequence[SliceValue], kind: tuple[str, str, str]) -> list[tuple[Role, SliceValue]]:
    """The worst, the median and the best slice by an error, of different patients where possible.

    `kind` is its reference, metric and region.
    Fewer than three where there are fewer slices that have a value.
    """
    valued = [one for one in slices if (one.reference, one.metric, one.region) == kind and one.value is not None]
    best_first = sorted(valued, key=lambda one: (one.value, one.case))
    middle = (len(best_first) - 1) / 2
    central = [
        best_first[index] for index in sorted(range(len(best_first)), key=lambda index: (abs(index - middle), index))
    ]
    found: dict[Role, SliceValue] = {}
    orders: list[tuple[Role, list[SliceValue]]] = [
        ("worst", best_first[::-1]),
        ("best", best_first),
        ("median", central),
    ]
    for role, order in orders:
        left = [one for one in order if one.case not in {other.case for other in found.values()}]
        others = [one for one in left if one.patient not in {other.patient for other in found.values()}]
        if left:
            found[role] = (others or left)[0]
    return [(role, found[role]) for role in ("worst", "median", "best") if role in found]


def patient_box(codes: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Row, column, height, width of the patient in a region map, `MARGIN` around it; the whole slice if none is there.

    `codes` is uint8 (height, width) of `harness.imaging.regions.Code`.
    """
    patient = ~np.isin(codes, (Code.PADDING, Code.AIR, Code.TABLE))
    if not patient.any():
        return 0, 0, *codes.shape
    bounds = []
    for axis, size in enumerate(codes.shape):
        (where,) = np.nonzero(patient.any(axis=1 - axis))
        first, last = max(0, int(where[0]) - MARGIN), min(size, int(where[-1]) + 1 + MARGIN)
        bounds.append((first, last - first))
    (top, height), (left, width) = bounds
    return top, left, height, width


def compress(image: NDArray[np.uint8]) -> tuple[bytes, int, float]:
    """A uint8 (height, width) image as WebP, its quality, and the mean absolute error in grey levels (0: lossless).

    The quality follows from the number of pixels, so that equal images give equal bytes in whichever record.
    """
    quality = LOSSLESS if image.size <= LOSSLESS_PIXELS else QUALITY
    encoded = _webp(image, quality)
    error = 0.0 if quality == LOSSLESS else float(np.abs(_decoded(encoded).astype(np.int16) - image).mean())
    return encoded, quality, error


def _paths(case: Case, labels: LabelSet, outputs: Mapping[str, Path]) -> dict[str, Path]:
    """The pictures of a slice in the order that they are shown in."""
    paths = {"input": Path(case.lq), "output": outputs[case.name], "label": labels.path(case.name)}
    return paths | ({"truth": Path(case.truth)} if case.truth else {})


def _webp(image: NDArray[np.uint8], quality: int) -> bytes:
    buffer = io.BytesIO()
    # 4 is WebP's own default; 6 takes three times as long for 1 % less
    Image.fromarray(image).convert("RGB").save(buffer, "WEBP", lossless=quality == LOSSLESS, quality=quality, method=4)
    return buffer.getvalue()


def _decoded(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("L"), dtype=np.uint8)


def colours_of(anatomy: Anatomy) -> dict[Region, str]:
    """The colours of the regions that an anatomy has."""
    return {name: colour for name, colour in REGION_COLOURS.items() if name in ANATOMIES[anatomy].regions}


def _regions_png(codes: NDArray[np.uint8], window: tuple[slice, slice], anatomy: Anatomy) -> bytes:
    """Scoring regions as a PNG of colours, transparent where there is none: it can lie over any other picture."""
    masks, colours = shrink(codes), colours_of(anatomy)
    indices = np.zeros(codes.shape, np.uint8)
    for index, name in enumerate(colours, start=1):
        indices[masks[name]] = index
    image = Image.fromarray(np.ascontiguousarray(indices[window]), "P")
    image.putpalette(bytes(3) + bytes.fromhex("".join(colour[1:] for colour in colours.values())))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=bytes([0, *[255] * len(colours)]), optimize=True)
    return buffer.getvalue()


def _strip(dataset: Dataset, labels: LabelSet, outputs: Mapping[str, Path], anatomy: Anatomy) -> bytes:
    """A square of one lung of one slice, in a lung window: input, output, label and, where known, truth. Of another
    anatomy than the chest it is the middle, in the window of its readers.

    Slice and place follow from the test set alone, so that strips of different rows can be compared.
    """
    case = dataset.cases[len(dataset.cases) // 4]
    reading_hu = ANATOMIES[anatomy].reading_hu
    tiles = [
        reading_window(grey(read_image(path), dataset.window_hu), reading_hu, window_hu=dataset.window_hu)
        for path in _paths(case, labels, outputs).values()
    ]
    codes = labels.regions(case)
    has_lung = ANATOMIES[anatomy].dark_organ is not None
    top, left, side = _lung_square(codes if has_lung else np.zeros_like(codes))
    return _webp(
        montage([[tile[top : top + side, left : left + side] for tile in tiles]], side=STRIP_SIDE), STRIP_QUALITY
    )


def _lung_square(codes: NDArray[np.uint8]) -> tuple[int, int, int]:
    """Row, column and side of a square in the larger lung of a label map, in the slice's middle if it has none.

    Its side is to the slice's height as STRIP_SIDE to STRIP_SLICE.
    """
    height, width = codes.shape
    side = min(max(1, round(height * STRIP_SIDE / STRIP_SLICE)), width)
    count, _, boxes, centres = cv2.connectedComponentsWithStats((codes == Code.LUNG).astype(np.uint8))
    column, row = width / 2, height / 2
    if count > 1:
        column, row = centres[1 + int(np.argmax(boxes[1:, cv2.CC_STAT_AREA]))]
    top, left = (
        min(max(0, round(float(middle) - side / 2)), size - side) for middle, size in ((row, height), (column, width))
    )
    return top, left, side
