"""Fixtures of the extractors' tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness import features
from harness.base import torchvision_shim  # noqa: F401 -- cleanfid, open_clip and torchmetrics import torchvision
from tests.published_files import archive, pin, published_state, state_dict_file, torchscript_file

__all__ = ["archive", "pin", "published_state", "state_dict_file", "torchscript_file"]


@pytest.fixture(scope="session")
def random_inception() -> features.Extractor:
    return features.load("inception-random")


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
