"""Files of the published weight formats with random weights, made once a session, and how to register them.

PyTorch deprecates the format that CLIP is published in, and tracing it warns about shapes: modules that use `archive`
mark themselves with `FORMAT_WARNINGS`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from harness.base.digests import digest_file
from harness.features import clip_random, inception_random, weights
from harness.features._clip_network import tower
from harness.features._inception_network import build

FORMAT_WARNINGS = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")


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
    folder = tmp_path / "published"
    monkeypatch.setenv("HARNESS_WEIGHTS", str(folder))
    pinned_files: list[weights.WeightFile] = []

    def pinned(extractor: str, path: Path, url: str = "https://example.invalid/weights") -> None:
        file = weights.WeightFile(
            extractor=extractor,
            name=path.name,
            sha256=digest_file(path),
            size=path.stat().st_size,
            url=url,
            licence="none",
        )
        folder.mkdir(exist_ok=True)
        (folder / path.name).symlink_to(path)
        pinned_files.append(file)
        monkeypatch.setattr(weights, "KNOWN", tuple(pinned_files))

    return pinned


class Archive(nn.Module):
    """As OpenAI's ViT-B-32.pt: a scripted half-precision model whose image tower is `visual`, with more beside it."""

    def __init__(self) -> None:
        super().__init__()
        with torch.device("meta"):
            self.visual = tower()
        state = {key: torch.from_numpy(tensor) for key, tensor in clip_random.weights().items()}
        self.visual.load_state_dict(state, assign=True)
        self.logit_scale = nn.Parameter(torch.tensor(4.6))
        self.token_embedding = nn.Embedding(4, 8)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.visual(x) * self.logit_scale
        return y


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("weights") / "ViT-B-32.pt"
    traced = torch.jit.trace(Archive().eval(), torch.zeros(1, 3, 224, 224), check_trace=False)  # type: ignore[no-untyped-call]
    traced.half().save(path)
    yield path
    path.unlink()  # pytest keeps the folders of three sessions
