"""What an extractor is: images in, feature vectors out, and a digest of the weights that it uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Matrix = NDArray[np.float32]


class Output(NamedTuple):
    """Features (b, d) float32, and maps (b, channels, 35, 35) float32 from networks that have them."""

    features: Matrix
    maps: Matrix | None


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """A network with its weights.

    `digest` is the SHA-256 of the weight file, or of the generated tensors where the weights are random; values from
    different digests must not be compared. `note` says in one clause what the weights are. `prepare` resizes a uint8
    (h, w) image by the network's convention and may be called from several threads at once; `forward` takes a batch
    (b, h', w') of such images and gives an `Output` in their order.
    """

    name: str
    digest: str
    dimension: int
    has_maps: bool
    note: str
    prepare: Callable[[Grey], NDArray[Any]]
    forward: Callable[[NDArray[Any]], Output]

    def __call__(self, images: Sequence[Grey]) -> Output:
        """Features of uint8 (h, w) images of any size."""
        return self.forward(np.stack([self.prepare(image) for image in images]))

    def describe(self) -> str:
        """One line for records and tables."""
        return f"{self.name}: {self.note} (weights {self.digest[:12]})"


class ExtractorFactory(Protocol):
    """What every extractor's file gives as `load`.

    UsageError where the device or the weights are missing, or the weights are damaged, with the fix.
    """

    def __call__(self, *, device: str) -> Extractor: ...
