"""Inception-v3 with the published weights of the Frechet inception distance: the features of FID and KID.

Two published forms of one network: a state dict (pytorch-fid, torch-fidelity) and NVIDIA's TorchScript file that
clean-fid uses. Features of the two differ by rounding only.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from harness.features import weights
from harness.features._extractor import Extractor
from harness.features._inception_network import DIMENSION, GRID, MAP_CHANNELS, SIZE, build
from harness.features._preprocess import inception_input
from harness.features._torch import Network, checked_device, forward

NAME = "inception"


class TorchScriptInception:
    """NVIDIA's TorchScript network used as clean-fid uses it: `layers` on normalised images, without its own resize.

    `layers` is a chain of named modules; the maps are the output of `pool1`. This is checked on one image when the file
    is loaded; if it does not hold, `has_maps` is false and there are only whole-image features.
    """

    MAPS = "pool1"

    def __init__(self, path: Path, device: torch.device) -> None:
        archive = torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]
        self.layers = archive.eval().layers
        self.chain = list(self.layers.named_children())
        self.has_maps = self._is_chain(device)

    def _is_chain(self, device: torch.device) -> bool:
        probe = torch.linspace(-1, 1, 3 * SIZE * SIZE, device=device).view(1, 3, SIZE, SIZE)
        with torch.inference_mode():
            expected = self.layers(probe).reshape(1, DIMENSION)
            try:
                features, maps = self._walk(probe)
            except RuntimeError:
                return False
        shape = (1, MAP_CHANNELS, GRID.cells, GRID.cells)
        return maps is not None and maps.shape == shape and torch.allclose(features, expected, rtol=1e-5, atol=1e-7)

    def _walk(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        count, maps = len(x), None
        for name, module in self.chain:
            x = module(x)
            if name == self.MAPS:
                maps = x
        return x.reshape(count, DIMENSION), maps

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """(b, 3, 299, 299) in [-1, 1] -> features (b, 2048) and maps (b, 192, 35, 35), or None for the maps."""
        if self.has_maps:
            return self._walk(x)
        return self.layers(x).reshape(len(x), DIMENSION), None


def load(*, device: str) -> Extractor:
    """The extractor; UsageError with the fix where the weights are missing or damaged."""
    where = checked_device(device)
    file, path = weights.find(NAME)
    network: Network
    has_maps = True
    if path.suffix == ".pt":
        network = script = TorchScriptInception(path, where)
        has_maps = script.has_maps
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network = build(state).to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    note = f"published weights {file.name}"
    return Extractor(
        name=NAME,
        digest=file.sha256,
        dimension=DIMENSION,
        grid=GRID if has_maps else None,
        note=note if has_maps else f"{note}, without maps: no regional features",
        prepare=inception_input,
        forward=forward(network, mean=[128.0] * 3, std=[128.0] * 3, device=where),
    )
