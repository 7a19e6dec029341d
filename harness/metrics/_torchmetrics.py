"""torchmetrics for 8-bit slices: what the metrics that it computes share.

In float32, the only type that torch convolves fast on a CPU. In float64 a slice of 512 x 512 takes 0.95 s instead of
0.09 s (SSIM) and 2.2 s instead of 0.14 s (VIF) on one core, and every worker process 1.6 GB instead of 0.5 GB; it moves
the phantom's SSIM of a region by 1.3e-5 and its VIF by 2.6e-5 at most.
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
    """Grey values (h, w) as torchmetrics takes them: float32 (1, 1, h, w)."""
    return torch.from_numpy(image.astype(np.float32))[None, None]
