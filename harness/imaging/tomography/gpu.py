"""`parallel_beam` in torch, for many slices at once on any device: same geometry, projector, filters and interpolation.

Values differ from `parallel_beam`'s only by the order of float32 sums. The package does not import it, because it loads
torch.
"""

from __future__ import annotations

import math

import torch

from harness.imaging.tomography.parallel_beam import Kernel, filter_response

_ELEMENTS = 1 << 25  # of one intermediate array, 128 MB: views are taken in groups that fit


def radon(mu: torch.Tensor, *, pixel_mm: float, views: int) -> torch.Tensor:
    """Line integrals of attenuation: (slices, n, n) in 1/mm -> (slices, views, n), float32 on the device of `mu`.

    Joseph's method (IEEE TMI 1982). ValueError where `mu` is not a stack of square slices.
    """
    if mu.ndim != 3 or mu.shape[1] != mu.shape[2]:
        raise ValueError(f"expected square slices (slices, n, n), found the shape {tuple(mu.shape)}")
    slices, n, device = len(mu), mu.shape[1], mu.device
    centre = (n - 1) / 2
    pitch = n + 4  # two columns of zeros on either side
    offsets = torch.arange(n, dtype=torch.float64) - centre
    channels = torch.arange(n, dtype=torch.float32, device=device)
    rows = (torch.arange(n, device=device) * pitch)[:, None]
    cosines, sines = _directions(views)
    lies = sines.abs() > cosines.abs()
    sinogram = torch.zeros((slices, views, n), dtype=torch.float32, device=device)
    for image, across, along, group in (
        (mu, cosines, sines, torch.nonzero(~lies)[:, 0]),
        (mu.transpose(1, 2), sines, cosines, torch.nonzero(lies)[:, 0]),
    ):
        flat = torch.nn.functional.pad(image.to(torch.float32), (2, 2)).reshape(slices, n * pitch)
        for some in torch.split(group, max(1, _ELEMENTS // (slices * n * n))):
            step = 1 / across[some]
            # Where channel 0 meets each row, in columns of the padded image; in float64 before it is rounded.
            start = centre + 2 - (centre + offsets * along[some, None]) * step[:, None]
            origin, stride = _float32(start, device)[:, :, None], _float32(step, device)[:, None, None]
            # Beyond the two zero columns the image is 0 as well.
            at = (origin + channels * stride).clamp(0, n + 2)
            column = at.to(torch.int64)
            place = rows + column
            left = flat[:, place]
            line = (left + (at - column) * (flat[:, place + 1] - left)).sum(dim=2)
            sinogram[:, some.to(device)] = line * _float32(step.abs() * pixel_mm, device)[:, None]
    return sinogram


def fbp(sinogram: torch.Tensor, *, pixel_mm: float, kernel: Kernel, size: int | None = None) -> torch.Tensor:
    """Reconstruct attenuation in 1/mm: (slices, views, n) -> (slices, size, size), float32; see `parallel_beam.fbp`.

    ValueError where `sinogram` is not a stack of sinograms.
    """
    if sinogram.ndim != 3:
        raise ValueError(f"expected sinograms (slices, views, n), found the shape {tuple(sinogram.shape)}")
    (slices, views, n), device = sinogram.shape, sinogram.device
    size = n if size is None else size
    padded = 1 << math.ceil(math.log2(2 * n))
    response = torch.from_numpy(filter_response(padded, kernel=kernel)) / pixel_mm * (math.pi / views)
    spectrum = torch.fft.rfft(sinogram.to(torch.float32), padded) * _float32(response, device)
    filtered = torch.fft.irfft(spectrum, padded)[:, :, : n + 1]
    levels = filtered[:, :, :n].reshape(slices, views * n)
    slopes = filtered.diff(dim=2).reshape(slices, views * n)

    centre, middle = (size - 1) / 2, (n - 1) / 2
    offsets = torch.arange(size, dtype=torch.float64) - centre
    inside = offsets**2 <= middle**2 - (offsets**2)[:, None]
    columns = torch.arange(size, dtype=torch.float32, device=device)
    cosines, sines = _directions(views)
    image = torch.zeros((slices, size, size), dtype=torch.float32, device=device)
    for some in torch.split(torch.arange(views), max(1, _ELEMENTS // (slices * size * size))):
        start = middle + offsets * sines[some, None] - centre * cosines[some, None]
        origin, stride = _float32(start, device)[:, :, None], _float32(cosines[some], device)[:, None, None]
        at = (origin + columns * stride).clamp(0, n - 1)  # only rounding and the corners leave the channels
        channel = at.to(torch.int64)
        place = (some.to(device) * n)[:, None, None] + channel
        image += (levels[:, place] + (at - channel) * slopes[:, place]).sum(dim=1)
    return image * inside.to(device)


def _directions(views: int) -> tuple[torch.Tensor, torch.Tensor]:
    angles = torch.arange(views, dtype=torch.float64) * (math.pi / views)
    return angles.cos(), angles.sin()


def _float32(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Cast before the transfer: not every device has float64."""
    return values.to(torch.float32).to(device)
