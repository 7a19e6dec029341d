"""The image tower of CLIP ViT-B/32 with OpenAI's activation: open_clip's network `ViT-B-32-quickgelu`.

Radford et al., "Learning transferable visual models from natural language supervision", arXiv 2103.00020.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from harness.base import torchvision_shim  # noqa: F401 -- before open_clip
from harness.features._extractor import Output
from harness.features._fused import linear
from harness.features._torch import forward

# isort: split
import open_clip
from open_clip.transformer import QuickGELU, VisionTransformer

MODEL = "ViT-B-32-quickgelu"
DIMENSION = 512
QUICK = 1.702  # of OpenAI's activation, x sigmoid(1.702 x)


def tower() -> nn.Module:
    """The tower with uninitialised weights, (b, 3, 224, 224) -> (b, 512); it takes no memory on the meta device."""
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


class _Layer(nn.Module):
    """A residual attention layer of open_clip: the same function of the same weights in fewer calls.

    Scaling the matrices around it turns OpenAI's activation x sigmoid(1.702 x) into swish, which oneDNN has. The last
    layer computes only the class token, the one that is read, which saves a fourteenth of the network's operations.
    """

    def __init__(self, layer: Any, *, last: bool) -> None:  # an open_clip.transformer.ResidualAttentionBlock
        super().__init__()
        self.attention, self.last = layer.attn, last
        self.first_norm, self.second_norm = layer.ln_1, layer.ln_2
        self.widen, self.narrow = layer.mlp.c_fc, layer.mlp.c_proj
        self.widen.weight *= QUICK
        self.widen.bias *= QUICK
        self.narrow.weight /= QUICK

    def forward(self, x: Tensor) -> Tensor:
        """(b, tokens, width) -> (b, tokens, width), or (b, 1, width) of the last layer."""
        count, tokens, width = x.shape
        parts = linear(self.first_norm(x), self.attention.in_proj_weight, self.attention.in_proj_bias)
        query, key, value = parts.view(count, tokens, 3, self.attention.num_heads, -1).permute(2, 0, 3, 1, 4)
        if self.last:
            x, query = x[:, :1], query[:, :, :1]
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(count, -1, width)
        x = x + linear(seen, self.attention.out_proj.weight, self.attention.out_proj.bias)
        wide = linear(self.second_norm(x), self.widen.weight, self.widen.bias, swish=True)
        return x + linear(wide, self.narrow.weight, self.narrow.bias)


class GreyTower(nn.Module):
    """The tower for images of three equal channels in grey levels, (b, 1, 224, 224) -> (b, 512).

    The normalisation and the filters of the three channels are merged into one matrix for one channel.
    """

    def __init__(self, tower: Any) -> None:  # open_clip's, with its weights; they are changed
        super().__init__()
        mean, std = (
            255 * torch.tensor(values) for values in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
        )
        filters = tower.conv1.weight.flatten(2) / std[:, None]  # (width, 3, pixels of a patch)
        self.patch = tower.conv1.kernel_size[0]
        self.filters = nn.Parameter(filters.sum(1))
        self.offsets = nn.Parameter(-(filters * mean[:, None]).sum((1, 2)))
        self.class_token, self.positions = tower.class_embedding, tower.positional_embedding
        self.first_norm, self.last_norm = tower.ln_pre, tower.ln_post
        blocks = tower.transformer.resblocks
        self.layers = nn.ModuleList(_Layer(block, last=block is blocks[-1]) for block in blocks)
        self.projection = tower.proj

    def forward(self, x: Tensor) -> Tensor:
        count, _, height, width = x.shape
        rows, columns = height // self.patch, width // self.patch
        patches = (
            x.view(count, rows, self.patch, columns, self.patch).transpose(2, 3).reshape(count, rows * columns, -1)
        )
        tokens = linear(patches, self.filters, self.offsets)
        x = self.first_norm(torch.cat([self.class_token.expand(count, 1, -1), tokens], 1) + self.positions)
        for layer in self.layers:
            x = layer(x)
        features: Tensor = self.last_norm(x[:, 0]) @ self.projection
        return features


def clip_forward(state: Mapping[str, Tensor], device: torch.device) -> Callable[[NDArray[Any]], Output]:
    """Batch of images (b, 224, 224) in grey levels -> features, with the tower's weights from a state dict.

    The features are not L2-normalised, as in clean-fid. Keys and shapes are checked: RuntimeError names keys that are
    missing or superfluous.
    """
    with torch.device("meta"):
        published = tower()
    published.load_state_dict({key: tensor.to(torch.float32, copy=True) for key, tensor in state.items()}, assign=True)
    network = GreyTower(published.requires_grad_(False)).eval().requires_grad_(False).to(device)

    def run(x: Tensor) -> tuple[Tensor, None]:
        return network(x), None

    return forward(run, mean=[0.0], std=[1.0], device=device)
