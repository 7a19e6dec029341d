"""A small residual network (after Zhang et al., DnCNN, IEEE TIP 26 (2017)): five convolutions, 16k parameters.

`benchmarks/train_cnn.py` trains it; `cnn.json` beside the weights is the recipe.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.base.digests import digest_file
from harness.base.errors import InfrastructureError
from harness.imaging.hounsfield import OFFSET_HU, Image, whole_levels
from harness.imaging.noise_level import VACUUM_HU, noise_level

SHA256 = "4a6094190c3a290b8744d0034d0f8f0bcf17c8cb18b19048a8e58ff7ebdcf22a"
"""Digest of the weights. It is part of the source, so that the cache key of labels covers the weights too."""

LAYERS, CHANNELS = 5, 24
MARGIN = LAYERS  # pixels that each side loses to the 3 x 3 convolutions without padding
STRENGTH = 1.0
_BAND = 64  # rows computed at a time, so that memory stays small

Array = NDArray[np.float64]
Weights = tuple[tuple[Array, Array], ...]


def denoise(image: Image) -> Image:
    """Denoise a slice, uint8 or uint16 (height, width) to the same: less STRENGTH times the network's residual.

    The training penalises what is taken from anatomy five times as much as noise that is left, so that contrast and
    structure hardly depend on the strength (docs/weak_denoisers.md compares them). The network learnt from other
    patients of the same phantom; what it does to a patient's lung has not been measured.
    """
    return denoise_by(image, strength=STRENGTH)


def denoise_by(image: Image, *, strength: float) -> Image:
    """Subtract `strength` times the network's residual from a slice, uint8 or uint16 (height, width) to the same.

    The network sees the slice in units of its noise, so that it serves any dose. A slice without noise comes back
    unchanged. InfrastructureError where the weights are not those of `SHA256`.
    """
    sigma = noise_level(image)
    if sigma == 0:
        return image.copy()
    black = 0 if image.dtype == np.uint8 else OFFSET_HU + VACUUM_HU  # as in the slices that it learnt from
    wide = np.pad(image.astype(np.float64) - black, MARGIN, mode="reflect") / sigma
    weights = load(Path(__file__).with_name("cnn.safetensors"), sha256=SHA256)
    height = image.shape[0]
    residual = np.concatenate(
        [_network(wide[top : min(top + _BAND, height) + 2 * MARGIN], weights) for top in range(0, height, _BAND)]
    )
    return whole_levels(image - strength * sigma * residual, image.dtype)


@lru_cache(maxsize=2)
def load(path: Path, *, sha256: str) -> Weights:
    """Filters (3, outputs, 3 * inputs), by row and then by column and input, and biases (outputs, 1) of each layer.

    InfrastructureError if the file is not the one of that SHA-256.
    """
    from safetensors.numpy import load_file

    found = digest_file(path) if path.is_file() else "no file"
    if found != sha256:
        raise InfrastructureError(
            f"{path}: expected the weights with SHA-256 {sha256}, found {found}", fix="restore the file"
        )
    tensors = {name: tensor.astype(np.float64) for name, tensor in load_file(path).items()}
    layers = []
    for index in range(LAYERS):
        filters, bias = tensors[f"{2 * index}.weight"], tensors[f"{2 * index}.bias"]
        layers.append((filters.transpose(2, 0, 3, 1).reshape(3, len(filters), -1), bias[:, None]))
    return tuple(layers)


def _network(rows: Array, weights: Weights) -> Array:
    """The residual of a band of rows: (height, width) -> (height - 2 MARGIN, width - 2 MARGIN).

    In float64, because the order in which a matrix product sums differs between processors. In float32 that would now
    and then round a grey level differently; in float64 the difference is too small.
    """
    values = rows[None]
    for layer, (filters, bias) in enumerate(weights):
        height, width = values.shape[1] - 2, values.shape[2] - 2
        beside = np.concatenate([values[:, :, column : column + width] for column in range(3)])
        beside = beside.reshape(len(beside), -1)  # a shift by a row is a shift by `width` along it, without a copy
        sums = bias
        for row in range(3):
            sums = sums + filters[row] @ beside[:, row * width : (row + height) * width]
        values = sums.reshape(-1, height, width)
        if layer < LAYERS - 1:
            np.maximum(values, 0, out=values)
    residual: Array = values[0]
    return residual
