"""U-Net that predicts the noise (Ronneberger et al., MICCAI 2015; residual as in Jin et al., IEEE TIP 26, 2017)."""

import torch
from torch import nn


def double(inputs, outputs):
    """Two rectified convolutions of 3 x 3."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU()
    )


class Network(nn.Module):
    """`levels` scales, each of half the size and twice the channels of the one before; `width` at full size."""

    def __init__(self, width=48, levels=3):
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.down = nn.ModuleList(double(widths[level - 1] if level else 1, widths[level]) for level in range(levels))
        self.up = nn.ModuleList(double(widths[level + 1] + widths[level], widths[level]) for level in range(levels - 1))
        self.last = nn.Conv2d(width, 1, 1)
        nn.init.zeros_(self.last.weight)  # untrained it returns its input
        nn.init.zeros_(self.last.bias)

    def forward(self, noisy):
        """The noise."""
        height, width = noisy.shape[-2:]
        unit = 2 ** (len(self.down) - 1)
        values = nn.functional.pad(noisy, (0, -width % unit, 0, -height % unit), mode="reflect")
        kept = []
        for level, block in enumerate(self.down):
            values = block(nn.functional.max_pool2d(values, 2) if level else values)
            kept.append(values)
        for level in reversed(range(len(self.up))):
            larger = nn.functional.interpolate(values, scale_factor=2, mode="nearest")
            values = self.up[level](torch.cat([larger, kept[level]], dim=1))
        return self.last(values)[..., :height, :width]

    def denoise(self, noisy):
        """(n, 1, height, width), 0 to 1 -> the same, clean."""
        return noisy - self(noisy)

    def loss(self, noisy, clean):
        """The squared error."""
        return nn.functional.mse_loss(self.denoise(noisy), clean)
