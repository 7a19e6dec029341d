"""CLIP ViT-B/32 with OpenAI's published weights: the features of CLIP-FID (Kynkaanniemi et al., arXiv 2203.06026)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from harness.features import weights
from harness.features._clip_network import DIMENSION, clip_forward, tower
from harness.features._extractor import Extractor
from harness.features._preprocess import clip_input
from harness.features._torch import checked_device

__all__ = ["load", "tower", "tower_state"]

NAME = "clip"
_TOWER = "visual."


def tower_state(path: Path) -> dict[str, Tensor]:
    """The image tower's weights in OpenAI's file, by open_clip's names."""
    state = torch.jit.load(path, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    return {key.removeprefix(_TOWER): tensor for key, tensor in state.items() if key.startswith(_TOWER)}


def load(*, device: str) -> Extractor:
    """The extractor; UsageError says how to get the weights where they are missing or damaged."""
    where = checked_device(device)
    file, path = weights.find(NAME)
    return Extractor(
        name=NAME,
        digest=file.sha256,
        dimension=DIMENSION,
        grid=None,
        note=f"published weights {file.name}",
        prepare=clip_input,
        forward=clip_forward(tower_state(path), where),
    )
