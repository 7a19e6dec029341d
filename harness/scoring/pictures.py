"""Pictures: a few slices of a record as files that a page can show: input, output, label, truth and regions.

They are of the whole range of grey, so that a page can choose the window, and cut to the patient. Where they fit into
`MAX_BYTES` they are lossless; else they are compressed only as much as it takes, and `pictures.json` says how much.
Scores are never computed from them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.base.slices import png_bytes, read_grey
from harness.base.structs import Strict, canonical_json
from harness.dataset.cases import Case, Dataset
from harness.imaging.montage import lung_window, montage
from harness.imaging.regions import Code, Region, shrink
from harness.labels.label_set import LabelSet
from harness.protocol import FidelityGate
from harness.scoring.per_slice import SliceValue
from harness.scoring.score import Scorecard

INDEX = "pictures.json"

MAX_BYTES = 600_000  # of all slices of a record

QUALITIES = (100, 95, 90, 80, 65, 50, 30, 10)  # of WebP, tried in turn; 100 is lossless

MARGIN = 8  # pixels around the patient

PREVIEW_SIDE = 256  # pixels of a slice in the preview

REGION_COLOURS: dict[Region, str] = {
    # Okabe & Ito's palette, which the colour-blind can tell apart; later regions lie over earlier ones
    "background": "#56b4e9",
    "body": "#e69f00",
    "lung": "#009e73",
    "table": "#cc79a7",
    "boundary": "#f0e442",
    "nodules": "#d55e00",
}

Role = Literal["worst", "median", "best"]

FileName = Annotated[str, msgspec.Meta(pattern=r"^[a-z]+-[a-z]+\.(webp|png)$")]


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

    `quality` is WebP's, 100 for lossless; `error` the mean absolute difference that it made, in grey levels.
    """

    schema: Literal[1] = 1
    metric: str
    region: str
    reference: str
    window_hu: tuple[float, float] | None
    quality: int
    error: float
    slices: tuple[Slice, ...]


def make_pictures(
    dataset: Dataset, labels: LabelSet, outputs: Mapping[str, Path], card: Scorecard, gate: FidelityGate
) -> dict[str, bytes]:
    """Attachments of a record, file name -> bytes: `preview.png`, `pictures.json` and what it names."""
    cases = {case.name: case for case in dataset.cases}
    chosen = choose(card.slices, (card.gate.reference, gate.metric, gate.region))
    layers: dict[str, NDArray[np.uint8]] = {}
    files: dict[str, bytes] = {}
    slices = []
    for role, one in chosen:
        case = cases[one.case]
        codes = labels.regions(case)
        top, left, height, width = crop = patient_box(codes)
        window = np.s_[top : top + height, left : left + width]
        paths = _paths(case, labels, outputs)
        names: dict[str, str] = {kind: f"{role}-{kind}.webp" for kind in paths}
        layers |= {names[kind]: read_grey(path)[window] for kind, path in paths.items()}
        names["regions"] = f"{role}-regions.png"
        files[names["regions"]] = _regions_png(codes, window)
        assert one.value is not None, "choose takes no slice without value"
        slices.append(
            Slice(
                role=role, case=one.case, patient=one.patient, value=float(f"{one.value:.7g}"), crop=crop, files=names
            )
        )
    encoded, quality, error = compress(layers, max_bytes=MAX_BYTES - sum(map(len, files.values())))
    pictures = Pictures(
        metric=gate.metric,
        region=gate.region,
        reference=card.gate.reference,
        window_hu=dataset.window_hu,
        quality=quality,
        error=error,
        slices=tuple(slices),
    )
    return files | encoded | {INDEX: canonical_json(pictures), "preview.png": _preview(dataset, labels, outputs)}


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


def compress(images: Mapping[str, NDArray[np.uint8]], *, max_bytes: int) -> tuple[dict[str, bytes], int, float]:
    """uint8 (height, width) images as WebP of the best of `QUALITIES` that fits all of them into `max_bytes`.

    Returns the files, the quality, and the mean absolute error over all pixels in grey levels (0 for lossless). The
    lowest quality is taken as it is, however large.
    """
    for quality in QUALITIES:
        encoded = {name: _webp(image, quality) for name, image in images.items()}
        if sum(map(len, encoded.values())) <= max_bytes:
            break
    errors = [np.abs(_decoded(encoded[name]).astype(np.int16) - image).ravel() for name, image in images.items()]
    return encoded, quality, round(float(np.concatenate(errors).mean()), 3) if errors else 0.0


def _paths(case: Case, labels: LabelSet, outputs: Mapping[str, Path]) -> dict[str, Path]:
    """The pictures of a slice in the order that they are shown in."""
    paths = {"input": Path(case.lq), "output": outputs[case.name], "label": labels.path(case.name)}
    return paths | ({"truth": Path(case.truth)} if case.truth else {})


def _webp(image: NDArray[np.uint8], quality: int) -> bytes:
    buffer = io.BytesIO()
    # 4 is WebP's own default; 6 takes three times as long for 1 % less
    Image.fromarray(image).convert("RGB").save(buffer, "WEBP", lossless=quality == 100, quality=quality, method=4)
    return buffer.getvalue()


def _decoded(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("L"), dtype=np.uint8)


def _regions_png(codes: NDArray[np.uint8], window: tuple[slice, slice]) -> bytes:
    """Scoring regions as a PNG of colours, transparent where there is none: it can lie over any other picture."""
    masks = shrink(codes)
    indices = np.zeros(codes.shape, np.uint8)
    for index, name in enumerate(REGION_COLOURS, start=1):
        indices[masks[name]] = index
    image = Image.fromarray(np.ascontiguousarray(indices[window]), "P")
    image.putpalette(bytes(3) + bytes.fromhex("".join(colour[1:] for colour in REGION_COLOURS.values())))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=bytes([0, *[255] * len(REGION_COLOURS)]), optimize=True)
    return buffer.getvalue()


def _preview(dataset: Dataset, labels: LabelSet, outputs: Mapping[str, Path]) -> bytes:
    """Two slices of different patients: input, output, label and, where known, truth, in a lung window."""
    cases = dataset.cases
    rows = [
        [lung_window(read_grey(path), window_hu=dataset.window_hu) for path in _paths(case, labels, outputs).values()]
        for case in (cases[len(cases) // 4], cases[3 * len(cases) // 4])
    ]
    return png_bytes(montage(rows, side=PREVIEW_SIDE))
