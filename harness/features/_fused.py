"""Matrix products with their activation in one call of oneDNN, the library that torch convolves with on a CPU.

torch.compile uses this operator too; called directly it needs no compiler. `benchmarks/scoring.py device` prints how
much it speeds up CLIP. On other devices, and in versions of torch without it, torch's own functions compute the same.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_HERE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call]


def linear(x: Tensor, weight: Tensor, bias: Tensor, *, swish: bool = False) -> Tensor:
    """x (..., inputs) times weight (outputs, inputs), plus bias; `swish` then takes y sigmoid(y)."""
    if _HERE and x.device.type == "cpu":
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "swish" if swish else "none", [], "")
        return y
    y = F.linear(x, weight, bias)
    return F.silu(y, inplace=True) if swish else y
