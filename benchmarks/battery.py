"""The battery of docs/validity.md: the label gates' denoisers, the learned networks, and some that do harm on purpose.

Those that do harm are named after the denoiser that they spoil, up to the comma. Some draw what is not there, some
erase what is. None draws at random: the slice's own noise decides where, as it does in a network that hallucinates.
They find the lung in the slice itself, and know nothing but the slice.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from benchmarks.spoils import GREY_PER_HU, Image, Mask, draw_vessels, to_grey
from benchmarks.train import MODELS, ROOT, load_network
from harness.imaging.denoise import tv
from harness.imaging.regions import Code, dilate, erode
from harness.imaging.segment import FIELD_OF_VIEW_MM, segment
from harness.labels.battery import BATTERY
from harness.phantom import levels, make_patient, scan_slice
from harness.protocol import PHANTOM_WINDOW_HU

Floats = NDArray[np.float32]
Denoiser = Callable[[Image], Image]
DONOR = 2711
"""The population whose first patient lends its texture: the one that the learned networks were trained on."""
NODULE_MM, NODULE_HU = 5.0, 200.0


# -------------------------------------------------------------------------------- learned
@lru_cache(maxsize=len(MODELS))
def shipped_network(model: str) -> Any:
    """The network of a submission with its weights, ready to denoise: a torch module."""
    torch.set_num_threads(1)
    with safe_open(ROOT / "submissions" / model / "weights.safetensors", framework="pt") as file:
        network = load_network(model, json.loads(file.metadata()["network"]))
        network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (no mapping)
    return network.eval()


def _learned(image: Image, *, model: str) -> Image:
    """What the submission of that name makes of a slice."""
    noisy = torch.from_numpy(image.astype(np.float32) / 255)
    with torch.inference_mode():
        clean = shipped_network(model).denoise(noisy[None, None])[0, 0].numpy()
    return to_grey(clean * 255)


# -------------------------------------------------------------------------------- what those that do harm share
def _clean(image: Image) -> Image:
    """The slice by total variation, which is no relation of any label's weak denoiser; once for the same slice."""
    return _of_bytes(image.tobytes(), image.shape)[0]


def _lung(image: Image) -> Mask:
    """The lung as the slice itself shows it, with its vessels, some 2 mm from its border."""
    return _of_bytes(image.tobytes(), image.shape)[1]


@lru_cache(maxsize=2)
def _of_bytes(pixels: bytes, shape: tuple[int, int]) -> tuple[Image, Mask]:
    clean = tv.denoise(np.frombuffer(pixels, np.uint8).reshape(shape))
    codes = segment(clean, window_hu=PHANTOM_WINDOW_HU, pixel_mm=None)
    return clean, erode(codes == Code.LUNG, 2 / _pixel_mm(clean))


def _pixel_mm(image: Image) -> float:
    """A denoiser does not learn the width of a pixel."""
    return float(FIELD_OF_VIEW_MM / image.shape[1])


def _blurred(values: NDArray[Any], mm: float) -> Floats:
    pixels = mm * values.shape[1] / FIELD_OF_VIEW_MM
    return np.asarray(cv2.GaussianBlur(values.astype(np.float32), (0, 0), pixels))


# -------------------------------------------------------------------------------- drawing what is not there
def draws_vessels(image: Image, *, count: int) -> Image:
    """Vessels at places and of courses that the noise decides, as bright as true ones."""
    rng = np.random.default_rng(zlib.crc32(image.tobytes()))
    return draw_vessels(_clean(image), _lung(image), count, rng)


def draws_nodules(image: Image, *, count: int) -> Image:
    """A nodule wherever the noise, smoothed to its size, is strongest: at most `count`, no two within 15 mm."""
    clean, lung, mm = _clean(image), _lung(image), _pixel_mm(image)
    likeness = _blurred(image.astype(np.float32) - clean, NODULE_MM / 3)
    likeness[~erode(lung, NODULE_MM / 2 / mm)] = -np.inf
    nodules = np.zeros(image.shape, bool)
    for _ in range(count):
        row, column = np.unravel_index(int(likeness.argmax()), likeness.shape)
        if likeness[row, column] == -np.inf:
            break
        place = np.zeros(image.shape, bool)
        place[row, column] = True
        nodules |= dilate(place, NODULE_MM / 2 / mm)
        likeness[dilate(place, 3 * NODULE_MM / mm)] = -np.inf
    return to_grey(clean + _blurred(nodules, 0.5) * NODULE_HU * GREY_PER_HU)


@lru_cache(maxsize=2)
def _donor(size: int) -> tuple[Floats, Floats]:
    """Of another patient's normal-dose scan: its noise, and in its lung all that is finer than a blur of 2 pixels."""
    scans = scan_slice(make_patient(DONOR, 0), levels(6)[2], size=size, dose=0.02)
    normal, lung = scans.aligned_gt.astype(np.float32), erode(scans.regions == Code.LUNG, 2)
    coarse, share = (cv2.GaussianBlur(one * lung.astype(np.float32), (0, 0), 2.0) for one in (normal, np.float32(1)))
    detail = normal - np.asarray(coarse) / np.maximum(share, np.float32(1e-3))
    return normal - scans.truth, np.where(lung, detail, np.float32(0))


def wears_noise(image: Image) -> Image:
    """Blurred, and covered with the noise of another patient's normal-dose scan: fine texture, nothing behind it."""
    return to_grey(_gaussian(image) + _donor(image.shape[1])[0])


def wears_detail(image: Image) -> Image:
    """Blurred, with the fine structure of another patient's lung in place of its own."""
    return to_grey(_gaussian(image) + np.where(_lung(image), _donor(image.shape[1])[1], np.float32(0)))


def _gaussian(image: Image) -> Floats:
    return BATTERY["gaussian 2"](image).astype(np.float32)


# -------------------------------------------------------------------------------- erasing what is there
def opens(image: Image, *, diameter_mm: float) -> Image:
    """Without anything in the lung that is brighter than its surroundings and smaller than a lesion of this diameter.

    Morphological opening by a disk. It darkens noise too, which is made good: the lung keeps its mean.
    """
    clean, lung = _clean(image), _lung(image)
    reach = int(np.ceil(diameter_mm / 2 / _pixel_mm(image)))
    steps = np.arange(-reach, reach + 1)
    disk = (np.hypot(steps[:, None], steps) <= reach).astype(np.uint8)
    opened = cv2.morphologyEx(clean, cv2.MORPH_OPEN, disk).astype(np.float32)
    lost = float((clean - opened)[lung].mean()) if lung.any() else 0.0
    return to_grey(np.where(lung, opened + lost, clean))


def flattens(image: Image, *, below_hu: float) -> Image:
    """The lung's local mean wherever it is nearer to it than `below_hu`: faint things are gone, vessels stay."""
    clean, lung = _clean(image), _lung(image)
    share = np.maximum(_blurred(lung, 6.0), np.float32(1e-3))
    mean = _blurred(np.where(lung, clean, 0), 6.0) / share
    faint = lung & (np.abs(_blurred(clean, 0.75) - mean) < below_hu * GREY_PER_HU)
    return to_grey(np.where(faint, mean, clean))


LEARNED: dict[str, Denoiser] = {model: partial(_learned, model=model) for model in MODELS}
"""The networks of `submissions/`, with the weights that lie there now."""

HALLUCINATING: dict[str, Denoiser] = {
    "tv, 4 vessels drawn": partial(draws_vessels, count=4),
    "tv, 16 vessels drawn": partial(draws_vessels, count=16),
    "tv, 8 nodules drawn": partial(draws_nodules, count=8),
    "tv, 32 nodules drawn": partial(draws_nodules, count=32),
    "gaussian 2, foreign noise": wears_noise,
    "gaussian 2, foreign detail": wears_detail,
}
"""Name -> denoiser that shows what is not there."""

ERASING: dict[str, Denoiser] = {
    "tv, opened 2 mm": partial(opens, diameter_mm=2),
    "tv, opened 5 mm": partial(opens, diameter_mm=5),
    "tv, flattened below 60 HU": partial(flattens, below_hu=60),
    "tv, flattened below 150 HU": partial(flattens, below_hu=150),
}
"""Name -> denoiser that removes what is there."""

HARMFUL = {**HALLUCINATING, **ERASING}
DENOISERS: dict[str, Denoiser] = {**BATTERY, **LEARNED, **HARMFUL}
"""Name -> denoiser of a slice through the phantom's usual window, uint8 (height, width) to the same."""


def unspoilt(harmful: str) -> str:
    """The denoiser that one of HARMFUL spoils."""
    return harmful.split(",", maxsplit=1)[0]
