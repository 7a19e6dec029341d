"""torchmetrics for 8-bit slices: what SSIM and VIF share.

In float32, the only type that torch convolves fast on a CPU: float64 takes more than ten times as long and changes the
fifth digit at most (docs/metrics.md).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from harness.base import torchvision_shim  # noqa: F401 -- before torchmetrics

# isort: split
from torchmetrics.functional.image import structural_similarity_index_measure, visual_information_fidelity

__all__ = ["structural_similarity_index_measure", "tensor", "visual_information_fidelity"]


def tensor(image: NDArray[np.generic]) -> torch.Tensor:
    """Grey values (h, w) in the shape that torchmetrics expects: float32 (1, 1, h, w)."""
    return torch.from_numpy(image.astype(np.float32))[None, None]
