"""What an extractor is: images in, feature vectors out, and a digest of the weights that it uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.features._maps import Grid

Grey = NDArray[np.uint8]
Matrix = NDArray[np.float32]


class Output(NamedTuple):
    """Features (b, d) float32, and maps (b, channels, cells, cells) float32 of networks that make both at once."""

    features: Matrix
    maps: Matrix | None


class MapPass(NamedTuple):
    """A second pass, for networks whose maps are made of another size of the image than their features.

    `prepare` resizes an image as an extractor's own does; `forward` gives maps (b, channels, cells, cells) of a batch.
    """

    prepare: Callable[[Grey], NDArray[Any]]
    forward: Callable[[NDArray[Any]], Matrix]


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """A network with its weights.

    `digest` is the SHA-256 of the weight file, or of the generated tensors where the weights are random; values from
    different digests must not be compared. `note` says in one clause what the weights are. `prepare` resizes a uint8
    (h, w) image by the network's convention and may be called from several threads at once; `forward` takes a batch
    (b, h', w') of such images and gives an `Output` in their order. `grid` says where the cells of the maps lie, None
    where the network has none; the maps come from `map_pass` where there is one, else with the features.
    """

    name: str
    digest: str
    dimension: int
    grid: Grid | None
    note: str
    prepare: Callable[[Grey], NDArray[Any]]
    forward: Callable[[NDArray[Any]], Output]
    map_pass: MapPass | None = None

    def __call__(self, images: Sequence[Grey]) -> Output:
        """Features, and maps where the network has them, of uint8 (h, w) images of any size."""
        output = self.forward(np.stack([self.prepare(image) for image in images]))
        if self.map_pass is None:
            return output
        return Output(output.features, self.map_pass.forward(np.stack([self.map_pass.prepare(one) for one in images])))

    def describe(self) -> str:
        """One line for records and tables."""
        return f"{self.name}: {self.note} (weights {self.digest[:12]})"


class ExtractorFactory(Protocol):
    """What every extractor's file gives as `load`.

    UsageError where the device or the weights are missing, or the weights are damaged, with the fix.
    """

    def __call__(self, *, device: str) -> Extractor: ...
