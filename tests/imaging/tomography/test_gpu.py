"""The numba kernels are the reference; on the processor always, on a CUDA device where one is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from harness.imaging.tomography import Kernel, fbp, gpu, radon

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
    ),
]
# Float32 sums of some hundred terms in another order; found at these sizes: 1e-6 of the largest value.
TOLERANCE = 5e-6


def slices(size: int) -> NDArray[np.float32]:
    """Noise to the corners, noise in a disk, nothing."""
    mu = np.random.default_rng(size).random((3, size, size), dtype=np.float32) * np.float32(0.02)
    grid = (np.arange(size) - (size - 1) / 2) ** 2
    mu[1, grid + grid[:, None] > (0.4 * size) ** 2] = 0
    mu[2] = 0
    return mu


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("size", "views"), [(33, 20), (64, 91), (96, 135)])
def test_projections_are_those_of_the_kernels(size: int, views: int, device: str) -> None:
    mu = slices(size)
    expected = np.stack([radon(image, pixel_mm=0.7, views=views) for image in mu])
    found = gpu.radon(torch.from_numpy(mu).to(device), pixel_mm=0.7, views=views)
    assert found.device.type == device
    np.testing.assert_allclose(found.cpu().numpy(), expected, rtol=0, atol=TOLERANCE * expected.max())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kernel", ["ramp", "hann", "sharp", (1.0, 0.5, 0.0)])
@pytest.mark.parametrize("size", [None, 32, 71])
def test_reconstructions_are_those_of_the_kernels(size: int | None, kernel: Kernel, device: str) -> None:
    sinograms = np.random.default_rng(1).random((2, 91, 64), dtype=np.float32)
    expected = np.stack([fbp(one, pixel_mm=0.7, kernel=kernel, size=size) for one in sinograms])
    found = gpu.fbp(torch.from_numpy(sinograms).to(device), pixel_mm=0.7, kernel=kernel, size=size).cpu().numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())
    np.testing.assert_array_equal(found == 0, expected == 0)


def test_views_in_groups_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    mu = torch.from_numpy(slices(24))
    sinograms = gpu.radon(mu, pixel_mm=1.0, views=17)
    images = gpu.fbp(sinograms, pixel_mm=1.0, kernel="hann")
    monkeypatch.setattr(gpu, "_ELEMENTS", 3 * mu.numel())
    torch.testing.assert_close(gpu.radon(mu, pixel_mm=1.0, views=17), sinograms)
    torch.testing.assert_close(gpu.fbp(sinograms, pixel_mm=1.0, kernel="hann"), images)


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"\(4, 4\)"):
        gpu.radon(torch.zeros(4, 4), pixel_mm=1.0, views=3)
    with pytest.raises(ValueError, match=r"\(2, 4, 5\)"):
        gpu.radon(torch.zeros(2, 4, 5), pixel_mm=1.0, views=3)
    with pytest.raises(ValueError, match=r"\(4, 4\)"):
        gpu.fbp(torch.zeros(4, 4), pixel_mm=1.0, kernel="ramp")
