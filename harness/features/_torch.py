"""Run a torch network on grey images, repeatably."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.base.errors import UsageError
from harness.features._extractor import Matrix, Output

Network = Callable[[Tensor], tuple[Tensor, Tensor | None]]
T = TypeVar("T")
Module = TypeVar("Module", bound=nn.Module)


def checked_device(name: str) -> torch.device:
    """The torch device of that name; UsageError if there is no such device, here or at all."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"{name!r} is not a device", fix="use cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("no GPU on this machine to compute features on", fix="use the device cpu")
    return device


def with_weights(make: Callable[[], Module], published: Mapping[str, Tensor]) -> Module:
    """A network with published weights, ready to evaluate, its own random ones never made.

    The batch norms' counters may be missing. RuntimeError names keys that are missing or superfluous.
    """
    with torch.device("meta"):
        network = make()
    counters = {key: torch.tensor(0) for key in network.state_dict() if key.endswith("num_batches_tracked")}
    network.load_state_dict({**published, **counters}, assign=True)
    network.eval().requires_grad_(False)
    return network


def forward(
    network: Network,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
) -> Callable[[NDArray[Any]], Output]:
    """A function from a batch (b, h, w) of grey images to `network`'s output for channels (x - mean) / std.

    `mean` and `std` are in grey levels, one for each channel. Everything is float32. On a CPU the numbers depend only
    on the number of threads; on a GPU TF32 is off, which would change features by a thousandth.
    """
    run = _run(network, mean=mean, std=std, device=device)

    def both(images: NDArray[Any]) -> Output:
        features, maps = run(images)
        return Output(_array(features), None if maps is None else _array(maps))

    return both


def map_forward(
    network: Callable[[Tensor], Tensor], *, mean: Sequence[float], std: Sequence[float], device: torch.device
) -> Callable[[NDArray[Any]], Matrix]:
    """As `forward`, of a network that gives maps alone.

    Large images run one at a time: on a CPU that is faster than a batch, because it stays in the caches.
    """

    def one_by_one(images: Tensor) -> Tensor:
        return torch.cat([network(images[index : index + 1]) for index in range(len(images))])

    run = _run(one_by_one, mean=mean, std=std, device=device)
    return lambda images: _array(run(images))


def _run(
    network: Callable[[Tensor], T], *, mean: Sequence[float], std: Sequence[float], device: torch.device
) -> Callable[[NDArray[Any]], T]:
    centre = torch.tensor(mean, dtype=torch.float32, device=device).view(1, -1, 1, 1)
    scale = torch.tensor(std, dtype=torch.float32, device=device).view(1, -1, 1, 1)

    def run(images: NDArray[Any]) -> T:
        x = (torch.from_numpy(images)[:, None].to(device=device, dtype=torch.float32) - centre) / scale
        # oneDNN's convolutions are faster with channels_last on a CPU
        x = x.contiguous(memory_format=torch.channels_last)
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            return network(x)

    return run


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.float().cpu().contiguous().numpy()
