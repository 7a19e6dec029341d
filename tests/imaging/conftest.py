"""Golden cases: the small ones of the project, and all of them where the reference folder is at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.files import read_grey

_ROOT = Path(__file__).parents[2]
_FOLDERS = {
    folder.name: folder
    for parent in (_ROOT.parent / "shared" / "golden", _ROOT / "tests" / "golden")
    for folder in sorted(parent.glob("*/"))
    if folder.is_dir()
}


@pytest.fixture(params=sorted(_FOLDERS))
def golden(request: pytest.FixtureRequest) -> Callable[[str], NDArray[np.uint8]]:
    """Reader of one golden case's images by name: `golden("lq")` -> uint8 (height, width)."""
    folder = _FOLDERS[request.param]
    return lambda name: read_grey(folder / f"{name}.png")
