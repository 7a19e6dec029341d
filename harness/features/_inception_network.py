"""The Inception-v3 of the Frechet inception distance (TensorFlow's graph of 2015-12-05) up to its 2048 features.

Modules are named as in the state dicts published for pytorch-fid and torch-fidelity, so that these files load
unchanged. Differences from torchvision's inception_v3: average pools do not count the padding, the last block pools
with a maximum, and there is no classifier (its weights in the published files are ignored).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.features._maps import Grid
from harness.features._torch import with_weights

SIZE = 299
DIMENSION = 2048
MAP_CHANNELS = 192
# The 31-pixel receptive field of cell 0 is centred on pixel 13 of 299; the 8 pixels that it stands for begin at 9, and
# the outermost pixels of the image belong to no cell.
GRID = Grid(size=SIZE, cells=35, stride=8, origin=9)


class Conv(NamedTuple):
    """A convolution of a block by its published name; stride 1 keeps the size, stride 2 has no padding."""

    name: str
    channels: int
    kernel: tuple[int, int]
    stride: int = 1


Pool = Callable[[Tensor], Tensor]
# A branch is a chain of steps; a tuple is a fork whose convolutions read the same input and are concatenated.
Step = Conv | Pool | tuple[Conv, Conv]
Plan = Sequence[Sequence[Step]]


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _maximum(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=1, padding=1)


def _halve(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=2)


def _conv(name: str, channels: int, height: int, width: int | None = None, stride: int = 1) -> Conv:
    return Conv(name, channels, (height, height if width is None else width), stride)


def _block_a(pool: int) -> Plan:
    return (
        (_conv("branch1x1", 64, 1),),
        (_conv("branch5x5_1", 48, 1), _conv("branch5x5_2", 64, 5)),
        (_conv("branch3x3dbl_1", 64, 1), _conv("branch3x3dbl_2", 96, 3), _conv("branch3x3dbl_3", 96, 3)),
        (_average, _conv("branch_pool", pool, 1)),
    )


def _block_b() -> Plan:
    return (
        (_conv("branch3x3", 384, 3, stride=2),),
        (_conv("branch3x3dbl_1", 64, 1), _conv("branch3x3dbl_2", 96, 3), _conv("branch3x3dbl_3", 96, 3, stride=2)),
        (_halve,),
    )


def _block_c(inner: int) -> Plan:
    return (
        (_conv("branch1x1", 192, 1),),
        (_conv("branch7x7_1", inner, 1), _conv("branch7x7_2", inner, 1, 7), _conv("branch7x7_3", 192, 7, 1)),
        (
            _conv("branch7x7dbl_1", inner, 1),
            _conv("branch7x7dbl_2", inner, 7, 1),
            _conv("branch7x7dbl_3", inner, 1, 7),
            _conv("branch7x7dbl_4", inner, 7, 1),
            _conv("branch7x7dbl_5", 192, 1, 7),
        ),
        (_average, _conv("branch_pool", 192, 1)),
    )


def _block_d() -> Plan:
    return (
        (_conv("branch3x3_1", 192, 1), _conv("branch3x3_2", 320, 3, stride=2)),
        (
            _conv("branch7x7x3_1", 192, 1),
            _conv("branch7x7x3_2", 192, 1, 7),
            _conv("branch7x7x3_3", 192, 7, 1),
            _conv("branch7x7x3_4", 192, 3, stride=2),
        ),
        (_halve,),
    )


def _block_e(pool: Pool) -> Plan:
    return (
        (_conv("branch1x1", 320, 1),),
        (_conv("branch3x3_1", 384, 1), (_conv("branch3x3_2a", 384, 1, 3), _conv("branch3x3_2b", 384, 3, 1))),
        (
            _conv("branch3x3dbl_1", 448, 1),
            _conv("branch3x3dbl_2", 384, 3),
            (_conv("branch3x3dbl_3a", 384, 1, 3), _conv("branch3x3dbl_3b", 384, 3, 1)),
        ),
        (pool, _conv("branch_pool", 192, 1)),
    )


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm with TensorFlow's epsilon, rectifier."""

    def __init__(self, inputs: int, conv: Conv, padding: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, conv.channels, conv.kernel, stride=conv.stride, padding=padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(conv.channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)

    def after_average(self, x: Tensor) -> Tensor:
        """The same on the average of x: all but the rectifier is linear, so the fewer output channels are averaged."""
        return F.relu(self.bn(_average(self.conv(x))), inplace=True)

    def fold(self) -> None:
        """Merge the batch norm into the convolution: the same function in less time."""
        assert isinstance(self.bn, nn.BatchNorm2d)
        self.conv = nn.utils.fuse_conv_bn_eval(self.conv, self.bn)
        self.bn = nn.Identity()


class Block(nn.Module):
    """Parallel branches over one input, concatenated in the published order."""

    def __init__(self, inputs: int, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        for branch in plan:
            channels = inputs
            for step in branch:
                convs = step if isinstance(step, tuple) and not isinstance(step, Conv) else (step,)
                for conv in convs:
                    if isinstance(conv, Conv):
                        height, width = conv.kernel
                        padding = (height // 2, width // 2) if conv.stride == 1 else (0, 0)
                        self.add_module(conv.name, ConvNorm(channels, conv, padding))
                channels = sum(conv.channels for conv in convs if isinstance(conv, Conv)) or channels

    def _step(self, step: Step, x: Tensor) -> Tensor:
        if isinstance(step, Conv):
            return self.get_submodule(step.name)(x)  # type: ignore[no-any-return]
        if isinstance(step, tuple):
            return torch.cat([self._step(conv, x) for conv in step], 1)
        return step(x)

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for branch in self.plan:
            y = x
            if branch[0] is _average and isinstance(branch[1], Conv):
                conv = self.get_submodule(branch[1].name)
                assert isinstance(conv, ConvNorm)
                y = conv.after_average(y)
            else:
                for step in branch:
                    y = self._step(step, y)
            outputs.append(y)
        return torch.cat(outputs, 1)


class InceptionNetwork(nn.Module):
    """(b, 3, 299, 299) in [-1, 1] -> features (b, 2048) and maps (b, 192, 35, 35), both float32."""

    def __init__(self) -> None:
        super().__init__()
        for name, inputs, channels, kernel, stride, padding in (
            ("Conv2d_1a_3x3", 3, 32, 3, 2, 0),
            ("Conv2d_2a_3x3", 32, 32, 3, 1, 0),
            ("Conv2d_2b_3x3", 32, 64, 3, 1, 1),
            ("Conv2d_3b_1x1", 64, 80, 1, 1, 0),
            ("Conv2d_4a_3x3", 80, MAP_CHANNELS, 3, 1, 0),
        ):
            self.add_module(name, ConvNorm(inputs, _conv(name, channels, kernel, stride=stride), (padding, padding)))
        for name, inputs, plan in (
            ("Mixed_5b", 192, _block_a(32)),
            ("Mixed_5c", 256, _block_a(64)),
            ("Mixed_5d", 288, _block_a(64)),
            ("Mixed_6a", 288, _block_b()),
            ("Mixed_6b", 768, _block_c(128)),
            ("Mixed_6c", 768, _block_c(160)),
            ("Mixed_6d", 768, _block_c(160)),
            ("Mixed_6e", 768, _block_c(192)),
            ("Mixed_7a", 768, _block_d()),
            ("Mixed_7b", 1280, _block_e(_average)),
            ("Mixed_7c", 2048, _block_e(_maximum)),
        ):
            self.add_module(name, Block(inputs, plan))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = x
        for name, module in self.named_children():
            x = module(x)
            if name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3"):
                x = _halve(x)
            if name == "Conv2d_4a_3x3":
                maps = x
        return x.mean((2, 3)), maps


def build(state: Mapping[str, Tensor]) -> InceptionNetwork:
    """The network with the weights of a published state dict (keys and shapes checked), ready to evaluate.

    `fc.*`, `AuxLogits.*` and batch-norm counters are ignored. RuntimeError names keys that are missing or superfluous.
    """
    kept = {
        key: tensor.float()
        for key, tensor in state.items()
        if not key.startswith(("fc.", "AuxLogits.")) and not key.endswith("num_batches_tracked")
    }
    network = with_weights(InceptionNetwork, kept)
    for module in list(network.modules()):
        if isinstance(module, ConvNorm):
            module.fold()
    return network
