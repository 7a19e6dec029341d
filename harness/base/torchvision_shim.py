"""Import this before torchvision or anything that imports it (open_clip, cleanfid, torchmetrics, torch_fidelity).

torchvision's wheel on PyPI is built against the CUDA build of torch. Beside a CPU-only torch its compiled operators
do not load, which would be no harm (nothing here uses them), but importing torchvision then fails all the same,
because it attaches shape functions to two operators that were never declared. Declaring their schemas is enough.
"""

from __future__ import annotations

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def _declare() -> torch.library.Library | None:
    """Declare the schemas unless this torch has CUDA, where torchvision's own operators load and declare them."""
    if torch.version.cuda is not None:
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    return library


LIBRARY = _declare()  # kept for the life of the process: the declarations end with the object
