"""EfficientNet-Lite0 with its ImageNet weights, which a Python package brings: real features without a download.

Whole slices are resized to 224 x 224, the size that the weights were trained at. Regional features come from another
pass over the slice at 512 x 512, through the first four of sixteen blocks: 240 channels at stride 8 that see 35 x 35
pixels. Deeper maps, and those at 224, mix the regions more; shallower ones rank denoisers worse (benchmarks/regions.py
measures both).

Tan & Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML 2019, arXiv 1905.11946.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from harness.features import weights
from harness.features._efficientnet_network import DIMENSION, GRID, MEAN, SIZE, STD, build
from harness.features._extractor import Extractor, MapPass
from harness.features._preprocess import square
from harness.features._torch import checked_device, forward, map_forward

NAME = "efficientnet-lite0"


def load(*, device: str) -> Extractor:
    """The extractor; UsageError with the fix where the package is missing or its file is not the published one."""
    where = checked_device(device)
    file, path = weights.find(NAME)
    network = build(torch.load(path, map_location="cpu", weights_only=True))
    network = network.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(x: Tensor) -> tuple[Tensor, None]:
        return network(x), None

    return Extractor(
        name=NAME,
        digest=file.sha256,
        dimension=DIMENSION,
        grid=GRID,
        note=f"published weights {file.name}",
        prepare=partial(square, size=SIZE),
        forward=forward(features, mean=[MEAN], std=[STD], device=where),
        map_pass=MapPass(
            partial(square, size=GRID.size), map_forward(network.maps, mean=[MEAN], std=[STD], device=where)
        ),
    )
