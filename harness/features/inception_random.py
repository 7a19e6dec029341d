"""The Inception network with seeded random weights: it needs no file; values compare only within this extractor."""

from __future__ import annotations

import numpy as np
import torch

from harness.features import _random
from harness.features._extractor import Extractor
from harness.features._inception_network import DIMENSION, GRID, InceptionNetwork, build
from harness.features._preprocess import inception_input
from harness.features._torch import checked_device, forward

NAME = "inception-random"
# Without offsets before the rectifiers the network would be a homogeneous function of the image.
OFFSET_STD = 0.3


def weights() -> dict[str, _random.Array]:
    """The tensors by their published names: He-scaled filters, unit batch-norm statistics, small random offsets."""
    with torch.device("meta"):
        shapes = {key: tuple(tensor.shape) for key, tensor in InceptionNetwork().state_dict().items()}
    tensors: dict[str, _random.Array] = {}
    for key, shape in shapes.items():
        if key.endswith("conv.weight"):
            centring = _random.LEVEL_CENTRING if key.startswith("Conv2d_1a") else 0.0
            std = float(np.sqrt(2.0 / np.prod(shape[1:])))
            tensors[key] = _random.uniform(NAME, key, shape, std=std, centring=centring)
        elif key.endswith("bn.bias"):
            tensors[key] = _random.uniform(NAME, key, shape, std=OFFSET_STD)
        elif key.endswith(("bn.weight", "running_var")):
            tensors[key] = np.ones(shape, np.float32)
        elif key.endswith("running_mean"):
            tensors[key] = np.zeros(shape, np.float32)
    return tensors


def load(*, device: str) -> Extractor:
    """The extractor; its digest is that of the generated tensors."""
    where = checked_device(device)
    tensors = weights()
    network = build({key: torch.from_numpy(tensor) for key, tensor in tensors.items()})
    network = network.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Extractor(
        name=NAME,
        digest=_random.digest(tensors),
        dimension=DIMENSION,
        grid=GRID,
        note=_random.NOTE,
        prepare=inception_input,
        forward=forward(network, mean=[128.0] * 3, std=[128.0] * 3, device=where),
    )
