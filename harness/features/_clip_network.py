"""The image tower of CLIP ViT-B/32 with OpenAI's activation: open_clip's network `ViT-B-32-quickgelu`.

Radford et al., "Learning transferable visual models from natural language supervision", arXiv 2103.00020.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from harness import torchvision_shim  # noqa: F401 -- before open_clip
from harness.features._extractor import Grey, Output
from harness.features._preprocess import clip_input
from harness.features._torch import forward

# isort: split
import open_clip
from open_clip.transformer import QuickGELU, VisionTransformer

MODEL = "ViT-B-32-quickgelu"
DIMENSION = 512


def tower() -> nn.Module:
    """The tower with uninitialised weights, (b, 3, 224, 224) -> (b, 512); on the meta device it costs nothing."""
    config = open_clip.get_model_config(MODEL)
    vision = config["vision_cfg"]
    module: nn.Module = VisionTransformer(
        image_size=vision["image_size"],
        patch_size=vision["patch_size"],
        width=vision["width"],
        layers=vision["layers"],
        heads=vision["width"] // 64,
        mlp_ratio=4.0,
        output_dim=config["embed_dim"],
        act_layer=QuickGELU,
    )
    return module


def clip_forward(state: Mapping[str, Tensor], device: torch.device) -> Callable[[Sequence[Grey]], Output]:
    """Grey images -> features, with the tower's weights from a state dict (keys and shapes checked).

    The features are not L2-normalised, as in clean-fid. RuntimeError names keys that are missing or superfluous.
    """
    with torch.device("meta"):
        network = tower()
    network.load_state_dict({key: tensor.float() for key, tensor in state.items()}, assign=True)
    network.eval().requires_grad_(False).to(device)

    def run(x: Tensor) -> tuple[Tensor, None]:
        return network(x), None

    mean = [255.0 * value for value in open_clip.OPENAI_DATASET_MEAN]
    std = [255.0 * value for value in open_clip.OPENAI_DATASET_STD]
    return forward(run, prepare=clip_input, mean=mean, std=std, device=device)
