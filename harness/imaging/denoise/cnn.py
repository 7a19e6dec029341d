"""A small residual network (after Zhang et al., DnCNN, IEEE TIP 26 (2017)): five convolutions, 16k parameters.

Trained by `benchmarks/train_cnn.py`, whose recipe is `cnn.json` beside the weights.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.base.digests import digest_file
from harness.base.errors import InfrastructureError
from harness.imaging.noise_level import noise_level

SHA256 = "4a6094190c3a290b8744d0034d0f8f0bcf17c8cb18b19048a8e58ff7ebdcf22a"
"""Digest of the weights. It stands in the source, so that labels are keyed by the weights as they are by the code."""

LAYERS, CHANNELS = 5, 24
MARGIN = LAYERS  # pixels that so many 3 x 3 convolutions without padding take from each side
STRENGTH = 1.0
_BAND = 64  # rows computed at a time, so that memory stays small

Array = NDArray[np.float64]
Weights = tuple[tuple[Array, Array], ...]


def denoise(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Denoise a slice (uint8, height x width) by STRENGTH times the residual that the network finds.

    The training weighs what is taken from anatomy five times as heavily as what is left of the noise; the strength
    scales what is taken, so that contrast and structure change little with it. Seed 78, 16 slices of 4 patients,
    512 x 512, 2 % dose, against the noise-free aligned slice, mean and range (`benchmarks/weak_denoisers.py
    --strengths`):

    | strength | noise cut | bias, grey | vessel contrast | structure in residual | residual NPS |
    |---|---|---|---|---|---|
    | 0.5  | 34 % (31-36) | -0.05 (-0.4 to 0.5) | 0.990 (0.92-1.03) | 0.058 | 1.126 |
    | 0.7  | 45 % (42-49) | -0.11 (-0.5 to 0.3) | 0.985 (0.91-1.02) | 0.058 | 1.125 |
    | 0.85 | 53 % (49-56) | -0.17 (-0.5 to 0.2) | 0.981 (0.90-1.02) | 0.058 | 1.125 |
    | 1    | 58 % (55-62) | -0.22 (-0.6 to 0.0) | 0.978 (0.89-1.02) | 0.058 | 1.125 |

    It learnt from other patients of the same phantom; what it does to a patient's lung has not been measured.
    """
    return denoise_by(image, strength=STRENGTH)


def denoise_by(image: NDArray[np.uint8], *, strength: float) -> NDArray[np.uint8]:
    """Take `strength` times the network's residual off a slice (uint8, height x width).

    The network sees the slice in units of its noise, so that it serves any dose. A slice without noise comes back as
    it is. InfrastructureError where the weights are not those of `SHA256`.
    """
    sigma = noise_level(image)
    if sigma == 0:
        return image.copy()
    wide = np.pad(image.astype(np.float64), MARGIN, mode="reflect") / sigma
    weights = load(Path(__file__).with_name("cnn.safetensors"), sha256=SHA256)
    height = image.shape[0]
    residual = np.concatenate(
        [_network(wide[top : min(top + _BAND, height) + 2 * MARGIN], weights) for top in range(0, height, _BAND)]
    )
    return np.clip(np.rint(image - strength * sigma * residual), 0, 255).astype(np.uint8)


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

    In float64, since the order in which a matrix product sums differs between processors: that moves a value by about
    1e-14 of itself, too little to meet one half-way between two grey levels, as float32's 1e-6 now and then does.
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
