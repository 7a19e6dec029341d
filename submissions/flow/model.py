"""Flow matching from noisy to clean slices (Lipman et al., ICLR 2023; paired as in arXiv 2510.07492).

On the straight path x_t = (1 - t) x_0 + t x_1 from the noisy slice x_0 to the clean one x_1 a U-Net learns the velocity
x_1 - x_0 from x_t and t. Denoising follows it from the noisy slice in a few Euler steps: nothing is drawn at random.
"""

import torch
from torch import nn

FREQUENCIES = 16  # of the sines and cosines that tell the network the time


class Block(nn.Module):
    """Two rectified convolutions of 3 x 3, the first shifted by the time."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.time = nn.Linear(2 * FREQUENCIES, outputs)

    def forward(self, values, time):
        values = (self.first(values) + self.time(time)[:, :, None, None]).relu()
        return self.second(values).relu()


class Network(nn.Module):
    """A U-Net of `levels` scales, `width` channels at full size; `steps` Euler steps denoise.

    It learns from times drawn evenly from 0 to 1 or, where `times` is not 0, from the first points of as many equal
    parts: with `times` equal to `steps`, from those at which denoising asks for the velocity.
    """

    def __init__(self, width=48, levels=3, steps=10, times=0):
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.steps = steps
        self.times = times
        self.down = nn.ModuleList(Block(widths[level - 1] if level else 1, widths[level]) for level in range(levels))
        self.up = nn.ModuleList(Block(widths[level + 1] + widths[level], widths[level]) for level in range(levels - 1))
        self.last = nn.Conv2d(width, 1, 1)
        nn.init.zeros_(self.last.weight)  # untrained nothing moves
        nn.init.zeros_(self.last.bias)

    def forward(self, values, time):
        """The velocity of `values` (n, 1, height, width) at `time` (n,)."""
        height, width = values.shape[-2:]
        unit = 2 ** (len(self.down) - 1)
        values = nn.functional.pad(values, (0, -width % unit, 0, -height % unit), mode="reflect")
        angles = time[:, None] * 2 ** (torch.arange(FREQUENCIES, device=time.device) / 2)
        waves = torch.cat([angles.sin(), angles.cos()], dim=1)
        kept = []
        for level, block in enumerate(self.down):
            values = block(nn.functional.max_pool2d(values, 2) if level else values, waves)
            kept.append(values)
        for level in reversed(range(len(self.up))):
            larger = nn.functional.interpolate(values, scale_factor=2, mode="nearest")
            values = self.up[level](torch.cat([larger, kept[level]], dim=1), waves)
        return self.last(values)[..., :height, :width]

    def denoise(self, noisy):
        """(n, 1, height, width), 0 to 1 -> the same, clean."""
        values = noisy
        for step in range(self.steps):
            time = torch.full((len(values),), step / self.steps, device=values.device)
            values = values + self(values, time) / self.steps
        return values

    def loss(self, noisy, clean):
        """The squared error of the velocity at times drawn evenly."""
        time = torch.rand(len(noisy), device=noisy.device)
        if self.times:
            time = (time * self.times).floor() / self.times
        share = time[:, None, None, None]
        return nn.functional.mse_loss(self((1 - share) * noisy + share * clean, time), clean - noisy)
