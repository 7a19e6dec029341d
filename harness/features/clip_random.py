"""CLIP's image tower with seeded random weights: needs no file; values compare only within this extractor."""

from __future__ import annotations

import numpy as np
import torch

from harness.features import _random
from harness.features._clip_network import DIMENSION, clip_forward, tower
from harness.features._extractor import Extractor
from harness.features._preprocess import clip_input
from harness.features._torch import checked_device

NAME = "clip-random"
# Weak enough beside the layer-normalised patches that the class token's answer depends on the image.
EMBEDDING_STD = 0.3


def _tensor(key: str, shape: tuple[int, ...], layers: int) -> _random.Array:
    if "ln_" in key:
        return np.full(shape, 1.0 if key.endswith("weight") else 0.0, np.float32)
    if key.endswith("bias"):
        return np.zeros(shape, np.float32)
    if key.endswith("embedding"):
        return _random.uniform(NAME, key, shape, std=EMBEDDING_STD)
    if key == "conv1.weight":
        std = float(np.sqrt(1.0 / np.prod(shape[1:])))
        return _random.uniform(NAME, key, shape, std=std, centring=_random.LEVEL_CENTRING)
    if key == "proj":  # the one matrix that is applied from the right: (inputs, outputs)
        return _random.uniform(NAME, key, shape, std=float(np.sqrt(1.0 / shape[0])))
    gain = 1.0
    if key.endswith(("out_proj.weight", "c_proj.weight")):
        gain = 1.0 / (2 * layers)  # two residual branches a layer: together they add what the input has
    elif key.endswith("c_fc.weight"):
        gain = 2.0  # the activation halves the mean square
    return _random.uniform(NAME, key, shape, std=float(np.sqrt(gain / shape[1])))


def weights() -> dict[str, _random.Array]:
    """The tensors by open_clip's names: unit layer norms, fan-in scaled matrices, residual branches scaled down."""
    with torch.device("meta"):
        shapes = {key: tuple(tensor.shape) for key, tensor in tower().state_dict().items()}
    layers = sum(key.endswith("in_proj_weight") for key in shapes)
    return {key: _tensor(key, shape, layers) for key, shape in shapes.items()}


def load(*, device: str) -> Extractor:
    """The extractor; its digest is that of the generated tensors."""
    where = checked_device(device)
    tensors = weights()
    return Extractor(
        name=NAME,
        digest=_random.digest(tensors),
        dimension=DIMENSION,
        grid=None,
        note=_random.NOTE,
        prepare=clip_input,
        forward=clip_forward({key: torch.from_numpy(tensor) for key, tensor in tensors.items()}, where),
    )
