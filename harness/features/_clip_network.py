"""The image tower of CLIP ViT-B/32 with OpenAI's activation: open_clip's network `ViT-B-32-quickgelu`.

Radford et al., "Learning transferable visual models from natural language supervision", arXiv 2103.00020.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness import torchvision_shim  # noqa: F401 -- before open_clip
from harness.features._extractor import Output
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


class _LastLayer(nn.Module):
    """The last layer for the class token alone, the only one whose answer is read: the same numbers, a fourteenth of
    the network's operations saved."""

    def __init__(self, layer: Any) -> None:  # an open_clip.transformer.ResidualAttentionBlock
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, attn_mask: None = None) -> Tensor:
        """(b, tokens, width) -> (b, 1, width)."""
        del attn_mask  # of text
        normed = self.layer.ln_1(x)
        x = x[:, :1] + self.layer.attention(normed[:, :1], normed, normed)
        answer: Tensor = x + self.layer.mlp(self.layer.ln_2(x))
        return answer


def clip_forward(state: Mapping[str, Tensor], device: torch.device) -> Callable[[NDArray[Any]], Output]:
    """Batch of images (b, 224, 224) in grey levels -> features, with the tower's weights from a state dict.

    The features are not L2-normalised, as in clean-fid. Keys and shapes are checked: RuntimeError names keys that are
    missing or superfluous.
    """
    with torch.device("meta"):
        network: Any = tower()
    network.load_state_dict({key: tensor.float() for key, tensor in state.items()}, assign=True)
    layers = network.transformer.resblocks
    layers[-1] = _LastLayer(layers[-1])
    network.eval().requires_grad_(False).to(device)

    def run(x: Tensor) -> tuple[Tensor, None]:
        return network(x), None

    mean = [255.0 * value for value in open_clip.OPENAI_DATASET_MEAN]
    std = [255.0 * value for value in open_clip.OPENAI_DATASET_STD]
    return forward(run, mean=mean, std=std, device=device)
