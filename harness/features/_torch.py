"""Running a torch network over grey images, in a repeatable way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.base.errors import UsageError
from harness.features._extractor import Output

Network = Callable[[Tensor], tuple[Tensor, Tensor | None]]


def checked_device(name: str) -> torch.device:
    """The torch device of that name; UsageError if it is none or not here."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"{name!r} is no device", fix="use cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("features were to be computed on a GPU and this machine has none", fix="use the device cpu")
    return device


def forward(
    network: Network,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
) -> Callable[[NDArray[Any]], Output]:
    """A function of a batch (b, h, w) of grey images: (x - mean) / std for each channel of these, `network`.

    `mean` and `std` are in grey levels, one a channel. float32 throughout; on a CPU the same numbers for the same
    number of threads, on a GPU no TF32, which would move features by a thousandth.
    """
    centre = torch.tensor(mean, dtype=torch.float32, device=device).view(1, -1, 1, 1)
    scale = torch.tensor(std, dtype=torch.float32, device=device).view(1, -1, 1, 1)

    def run(images: NDArray[Any]) -> Output:
        x = (torch.from_numpy(images)[:, None].to(device=device, dtype=torch.float32) - centre) / scale
        # channels_last makes oneDNN's convolutions 1.4 times as fast on a CPU
        x = x.contiguous(memory_format=torch.channels_last)
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            features, maps = network(x)
        return Output(_array(features), None if maps is None else _array(maps))

    return run


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.float().cpu().contiguous().numpy()
