"""Files of the published formats with random weights, made once a session, and the digests they then have."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from harness import features
from harness.features import (
    _torchvision,  # noqa: F401 -- cleanfid, open_clip and torchmetrics import torchvision
    inception_random,
    weights,
)
from harness.features._inception_network import build
from harness.files import digest_file


@pytest.fixture(scope="session")
def random_inception() -> features.Extractor:
    return features.load("inception-random")


@pytest.fixture(scope="session")
def published_state() -> dict[str, Tensor]:
    """A state dict with every key of pt_inception-2015-12-05-6726825d.pth (pytorch-fid), classifier included."""
    state = {key: torch.from_numpy(tensor) for key, tensor in inception_random.weights().items()}
    counters = {
        key.replace("running_mean", "num_batches_tracked"): torch.tensor(0) for key in state if "running_mean" in key
    }
    return state | counters | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}


@pytest.fixture(scope="session")
def state_dict_file(tmp_path_factory: pytest.TempPathFactory, published_state: dict[str, Tensor]) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("weights") / "pt_inception-2015-12-05-6726825d.pth"
    torch.save(OrderedDict(published_state), path)
    yield path
    path.unlink()  # pytest keeps the folders of three sessions


class Flatten(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class PublishedLayout(nn.Module):
    """NVIDIA's module tree: `layers` is a chain conv, conv_1, conv_2, pool0, ..., pool1, mixed, ..., mixed_10."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        parts = OrderedDict(build(state).named_children())
        convs = [parts.pop(name) for name in list(parts) if name.startswith("Conv2d")]
        chain: list[tuple[str, nn.Module]] = []
        for index, conv in enumerate(convs):
            chain.append((f"conv_{index}" if index else "conv", conv))
            if index in (2, 4):
                chain.append((f"pool{index // 2 - 1}", nn.MaxPool2d(3, stride=2)))
        for index, block in enumerate(parts.values()):
            chain.append((f"mixed_{index}" if index else "mixed", block))
        self.layers = nn.Sequential(OrderedDict([*chain, ("pool2", Flatten())]))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers((x - 128) / 128)
        return y


@pytest.fixture(scope="session")
def torchscript_file(tmp_path_factory: pytest.TempPathFactory, published_state: dict[str, Tensor]) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("weights") / "inception-2015-12-05.pt"
    traced = torch.jit.trace(PublishedLayout(published_state), torch.zeros(1, 3, 299, 299))  # type: ignore[no-untyped-call]
    traced.save(path)
    yield path
    path.unlink()


Pin = Callable[..., None]


@pytest.fixture
def pin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pin:
    """Register files as the published ones of their names, in an otherwise empty installation."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HARNESS_WEIGHTS", raising=False)

    def pinned(extractor: str, path: Path, url: str = "https://example.invalid/weights") -> None:
        file = weights.WeightFile(
            extractor=extractor,
            name=path.name,
            sha256=digest_file(path),
            size=path.stat().st_size,
            url=url,
            licence="none",
        )
        monkeypatch.setattr(weights, "KNOWN", (file,))
        monkeypatch.setenv("HARNESS_WEIGHTS", str(path.parent))

    return pinned


@pytest.fixture(scope="session")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Path]]:
    """Six clean, noisy or smoothed slice-like PNGs of odd sizes, the same anatomy in all three."""
    from scipy.ndimage import gaussian_filter

    folder = tmp_path_factory.mktemp("slices")
    kinds: dict[str, list[Path]] = {"clean": [], "noisy": [], "smoothed": []}
    for index, (height, width) in enumerate([(128, 128), (96, 96), (128, 128), (120, 100), (100, 128), (128, 128)]):
        rng = np.random.default_rng(index)
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        body = 110.0 * (x**2 / 0.7 + y**2 / 0.5 < 1)
        body[(np.abs(x) - 0.4) ** 2 / 0.08 + y**2 / 0.25 < 1] = 25
        clean = gaussian_filter(body, 0.7) + 6 * gaussian_filter(rng.normal(size=body.shape), 3) * 10
        noisy = clean + rng.normal(0, 12, body.shape)
        for kind, image in (("clean", clean), ("noisy", noisy), ("smoothed", gaussian_filter(noisy, 0.8))):
            path = folder / f"{kind}-{index}.png"
            Image.fromarray(np.clip(np.rint(image), 0, 255).astype(np.uint8)).save(path)
            kinds[kind].append(path)
    return kinds.__getitem__
