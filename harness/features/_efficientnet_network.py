"""EfficientNet-Lite0 up to its 1280 features: EfficientNet-B0 without squeeze-and-excitation, with ReLU6 for swish.

Tan & Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML 2019, arXiv 1905.11946; the
Lite variants are of TensorFlow's repository `tpu` (2020). Modules are named as in the published state dict, so that it
loads unchanged; there is no classifier (its weights in the file are ignored).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.features._maps import Grid
from harness.features._torch import with_weights

SIZE = 224  # that the weights were trained at
MEAN, STD = 127.0, 128.0  # of grey levels, as in training
DIMENSION = 1280
MAP_BLOCK = 4  # the maps are the wide channels at the start of this block
MAP_CHANNELS = 240
# The cells tile the image. With TensorFlow's padding the 35-pixel receptive field of cell 0 is centred at 7.5, but the
# trained filters make up for it: what a cell answers to is centred 3 pixels before that (a test measures it).
GRID = Grid(size=512, cells=64, stride=8, origin=0)


class Stage(NamedTuple):
    """Blocks in a row: how many, their kernel, the first one's stride, how many times wider inside, output channels."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STEM = 32
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class Conv(nn.Conv2d):
    """Convolution without bias, padded as TensorFlow's "same" pads even sizes: with stride 2 more after than before."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        around = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride=stride, padding=around, groups=groups, bias=False)
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        self.uneven = None if stride == 1 else (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self.uneven is None else F.pad(x, self.uneven))


def _norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, eps=0.001)


def _relu6(x: Tensor) -> Tensor:
    return F.relu6(x, inplace=True)


class _Folding(nn.Module):
    """Convolutions, each with the batch norm that follows it, by their published names."""

    PAIRS: tuple[tuple[str, str], ...]

    def fold(self) -> None:
        """Merge the batch norms into the convolutions: the same function in less time."""
        for conv, norm in self.PAIRS:
            if hasattr(self, conv):
                fused = nn.utils.fuse_conv_bn_eval(getattr(self, conv), getattr(self, norm))
                setattr(self, conv, fused)
                setattr(self, norm, nn.Identity())


class Block(_Folding):
    """Inverted bottleneck: wider, each channel convolved, narrower; the input is added where the shape allows."""

    PAIRS = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.widens, self.adds = expansion != 1, stride == 1 and inputs == outputs
        if self.widens:
            self._expand_conv = Conv(inputs, wide, 1)
            self._bn0 = _norm(wide)
        self._depthwise_conv = Conv(wide, wide, kernel, stride=stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv = Conv(wide, outputs, 1)
        self._bn2 = _norm(outputs)

    def widen(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) -> (b, inputs * expansion, h, w)."""
        return _relu6(self._bn0(self._expand_conv(x))) if self.widens else x

    def forward(self, x: Tensor) -> Tensor:
        wide = _relu6(self._bn1(self._depthwise_conv(self.widen(x))))
        y: Tensor = self._bn2(self._project_conv(wide))
        return y + x if self.adds else y


class EfficientNetLite(_Folding):
    """Lite0 on normalised images of even sizes, (b, 3, h, w), or (b, 1, h, w) once `build` has merged the channels."""

    PAIRS = (("_conv_stem", "_bn0"), ("_conv_head", "_bn1"))

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = Conv(3, STEM, 3, stride=2)
        self._bn0 = _norm(STEM)
        channels, blocks = STEM, []
        for stage in STAGES:
            for number in range(stage.blocks):
                stride = 1 if number else stage.stride
                block = Block(channels, stage.channels, kernel=stage.kernel, stride=stride, expansion=stage.expansion)
                blocks.append(block)
                channels = stage.channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = Conv(channels, DIMENSION, 1)
        self._bn1 = _norm(DIMENSION)

    def _begin(self, x: Tensor, blocks: int) -> Tensor:
        x = _relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks[:blocks]:
            x = block(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Features (b, 1280): the mean over the image after the head."""
        x = self._begin(x, len(self._blocks))
        return _relu6(self._bn1(self._conv_head(x))).mean((2, 3))

    def maps(self, x: Tensor, number: int = MAP_BLOCK) -> Tensor:
        """The wide channels at the start of a block; of block 4 (b, 240, h / 8, w / 8)."""
        block = self._blocks[number]
        assert isinstance(block, Block)
        return block.widen(self._begin(x, number))


def build(state: Mapping[str, Tensor]) -> EfficientNetLite:
    """The network for grey images with the weights of the published state dict (keys and shapes checked).

    The filters of the three colours are merged into one for their common value. `_fc.*` and batch-norm counters are
    ignored. RuntimeError names keys that are missing or superfluous.
    """
    kept = {
        key: tensor.to(torch.float32, copy=True)
        for key, tensor in state.items()
        if not key.startswith("_fc.") and not key.endswith("num_batches_tracked")
    }
    network = with_weights(EfficientNetLite, kept)
    for module in list(network.modules()):
        if isinstance(module, _Folding):
            module.fold()
    stem = network._conv_stem
    stem.weight = nn.Parameter(stem.weight.sum(1, keepdim=True), requires_grad=False)
    stem.in_channels = 1
    return network
