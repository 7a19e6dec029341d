"""Golden cases: the small ones of the project, and all of them where the reference folder is at hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.base.slices import read_grey

_ROOT = Path(__file__).parents[2]
_FOLDERS = {
    folder.name: folder
    for parent in (_ROOT.parent / "shared" / "golden", _ROOT / "tests" / "golden")
    for folder in sorted(parent.glob("*/"))
    if folder.is_dir()
}


# Where `noise.png` begins: the seeds that the reference folder's cases.json states, here for the cases of the project.
_SEEDS = {
    "phantom_8": 108,
    "small_normal": 31,
    "small_bright_corner": 32,
    "small_body_both_sides": 33,
    "small_uniform_noise": 34,
    "small_high_contrast_overlap": 35,
    "small_leaky_wall": 36,
}


@pytest.fixture(params=sorted(_FOLDERS))
def golden_folder(request: pytest.FixtureRequest) -> Path:
    """Folder of one golden case."""
    return _FOLDERS[request.param]


@pytest.fixture
def golden(golden_folder: Path) -> Callable[[str], NDArray[np.uint8]]:
    """Reader of one golden case's images by name: `golden("lq")` -> uint8 (height, width)."""
    return lambda name: read_grey(golden_folder / f"{name}.png")


@pytest.fixture
def noise_seed(golden_folder: Path) -> int:
    """Seed of the same case's `golden("noise")`, for numpy's RandomState."""
    cases = golden_folder.parent / "cases.json"
    known = {case["name"]: case["noise_seed"] for case in json.loads(cases.read_text())} if cases.exists() else _SEEDS
    return int(known[golden_folder.name])
