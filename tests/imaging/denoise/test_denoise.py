"""The folder of weak denoisers as their registry."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from harness.errors import UsageError
from harness.imaging import denoise


def test_every_name_loads_and_keeps_shape() -> None:
    assert "nlm" in denoise.names()
    image = np.random.default_rng(0).integers(0, 256, (24, 32), dtype=np.uint8)
    for name in denoise.names():
        assert denoise.load(name)(image).shape == image.shape


def test_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(UsageError, match=r"'nlmm'.*nlm") as caught:
        denoise.load("nlmm")
    assert "weak_denoiser" in caught.value.fix


def test_a_denoiser_is_imported_only_when_named() -> None:
    script = "import sys, harness.imaging.denoise as d; d.names(); sys.exit('skimage' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
