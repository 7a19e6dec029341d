"""What a slice shows of its noise: power by frequency and direction where the anatomy is smooth, with the ray paths.

The FBP noise at a pixel is the sum of its views' noise, each along its own direction in frequency (central slice
theorem): at pixel x the power in direction phi is the variance 1/N e^p/w + (s/N)^2 e^2p/w^2 of the one ray that
passes x at that angle, times the kernel's gain. Power by direction therefore separates the long paths through a pixel
from the short ones.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from harness.imaging.insertion import Scanner, line_integrals, scan_noise
from harness.imaging.regions import erode, field_of_view
from harness.imaging.tomography import bowtie

CENTRES = np.linspace(0.15, 0.95, 13)
"""Middles of the frequency bands, in units of Nyquist. Below the first, anatomy is stronger than noise."""
_WIDTH = 0.05
_WEDGES = 8
_WEDGE_CENTRES = (0.32, 0.44, 0.56, 0.68)  # where kernels let noise through and anatomy is weak
_WEDGE_WIDTH = 0.07
DIRECTIONS_DF = len(_WEDGE_CENTRES)
"""Degrees of freedom of one directional power: the number of nearly independent bands averaged."""

_REACH = 15
"""Width in pixels of the median that approximates the slice without noise."""
_MOST_POINTS = 3000
_SMOOTHEST = 0.03 * 512
"""Smooth pixels wanted per pixel of the slice's height: 3 % of the slice at 512; fewer where less is smooth."""
_TISSUE_HU = (-200.0, 130.0)
_LUNG_HU = (-950.0, -600.0)

Floats = NDArray[np.float64]


class Ground(NamedTuple):
    """Where a slice's noise is measured, and on what; constant while the scanner is fitted."""

    base: NDArray[np.uint8]
    """The slice without its noise, and without its finest anatomy: (height, width)."""
    sinogram: NDArray[np.float32]
    """Line integrals of the slice with its noise averaged out."""
    projected: NDArray[np.float32]
    """Line integrals of `base`, which those of a simulated scan are compared with."""
    points: NDArray[np.intp]
    """Indices of the pixels, into the flattened slice."""
    tissue: NDArray[np.bool_]
    """Which of them lie in soft tissue; the others lie in the lung."""
    window_hu: tuple[float, float]
    pixel_mm: float


class Powers(NamedTuple):
    """Squared band-passed grey levels at P points, and what the model of a ray's variance predicts there."""

    bands: Floats
    """(P, bands): all directions."""
    wide: Floats
    """(P,): everything above the first band's lower edge."""
    directions: Floats
    """(P, bands of a wedge, wedges)."""
    quantum: Floats
    """(P, wedges): mean of e^p/w over the rays of a wedge that pass the point."""
    electronic: Floats
    """(P, wedges): mean of e^2p/w^2."""


def prepare(image: NDArray[np.uint8], *, window_hu: tuple[float, float], pixel_mm: float, seed: int) -> Ground:
    """Find the smooth ground of a slice (uint8, height x width); it has no points where nothing is smooth."""
    # Twice: noise that one median leaves would also be in the imitated slice and count double.
    base = _median(_median(image))
    low, high = window_hu
    hu = base * ((high - low) / 255) + low
    clear = (_clipped(image) < 0.03) & erode(field_of_view(image), _REACH) & _inner(image.shape, _REACH)
    tissue = clear & (hu > _TISSUE_HU[0]) & (hu < _TISSUE_HU[1])
    lung = clear & (hu > _LUNG_HU[0]) & (hu < _LUNG_HU[1])
    rng = np.random.default_rng(seed)
    in_tissue, in_lung = (_smoothest(image, base, region, rng) for region in (tissue, lung))
    return Ground(
        base=base,
        sinogram=_paths(image, window_hu, pixel_mm),
        projected=_paths(base, window_hu, pixel_mm),
        points=np.concatenate([in_tissue, in_lung]),
        tissue=np.arange(len(in_tissue) + len(in_lung)) < len(in_tissue),
        window_hu=window_hu,
        pixel_mm=pixel_mm,
    )


def observe(image: NDArray[np.uint8], ground: Ground) -> Powers:
    """Measure a slice at the points of its ground."""
    return _powers(image, ground, ground.sinogram)


def imitate(ground: Ground, scanner: Scanner, rng: np.random.Generator) -> Powers:
    """Measure a scan of the ground by `scanner` in the same way: same points, same clipping and rounding.

    Its line integrals are estimated from its own noisy image, so that their errors affect the fit alike.
    """
    low, high = ground.window_hu
    shape = ground.base.shape
    noise = scan_noise(ground.sinogram, shape=shape, pixel_mm=ground.pixel_mm, scanner=scanner, rng=rng)
    grey = ground.base + np.where(field_of_view(ground.base), noise, np.float32(0)) * np.float32(255 / (high - low))
    image = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    error = _paths(image, ground.window_hu, ground.pixel_mm) - ground.projected
    return _powers(image, ground, ground.sinogram + error)


def energy(shape: tuple[int, int]) -> Floats:
    """Variance (bands,) of each band of white noise of unit variance."""
    weights = np.full(shape[1] // 2 + 1, 2.0)  # an rfft leaves out the mirrored half
    weights[0] = 1
    if shape[1] % 2 == 0:
        weights[-1] = 1
    bands = np.asarray(_filters(shape)[: len(CENTRES)], np.float64)
    total: Floats = (bands**2 * weights).sum(axis=(1, 2)) / (shape[0] * shape[1])
    return total


# -------------------------------------------------------------------------------- ground
def _median(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.medianBlur(image, _REACH), np.uint8)


def _clipped(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Share of clipped pixels around each pixel."""
    return np.asarray(cv2.blur(((image == 0) | (image == 255)).astype(np.float32), (_REACH, _REACH)))


def _inner(shape: tuple[int, ...], margin: int) -> NDArray[np.bool_]:
    inner = np.zeros(shape, bool)
    inner[margin:-margin, margin:-margin] = True
    return inner


def _smoothest(
    image: NDArray[np.uint8], base: NDArray[np.uint8], region: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.intp]:
    """The smoothest pixels of a region: where the slice without its noise changes least around them."""
    if not region.any():
        return np.zeros(0, np.intp)
    around = np.ones((19, 19), np.uint8)
    relief = cv2.dilate(base, around).astype(np.int16) - cv2.erode(base, around)
    noise = float(np.median(np.abs(image.astype(np.float32) - base)[region])) / 0.6745
    wanted = min(int(_SMOOTHEST * len(image)), int(region.sum())) - 1
    enough = float(np.partition(relief[region], wanted)[wanted])
    points = np.flatnonzero(region & (relief <= min(enough, 2 + 0.6 * max(noise, 0.7))))
    if len(points) > _MOST_POINTS:
        points = np.sort(rng.choice(points, _MOST_POINTS, replace=False))
    return points


def _paths(image: NDArray[np.uint8], window_hu: tuple[float, float], pixel_mm: float) -> NDArray[np.float32]:
    """Line integrals of a noisy slice: bones are kept, and air whose noise is clipped at grey 0 gets its median.

    A median over the whole slice would lose ribs and vessels (0.1 of a path); the mean of clipped air adds as much.
    """
    air = _clipped(image) > 0.25
    calm = cv2.GaussianBlur(image.astype(np.float32), (0, 0), image.shape[1] / 256)
    calm[air] = _median(image)[air]
    paths = line_integrals(np.rint(calm).astype(np.uint8), window_hu=window_hu, pixel_mm=pixel_mm)
    return np.asarray(cv2.GaussianBlur(paths, (0, 0), sigmaX=0.8, sigmaY=3), np.float32)


# -------------------------------------------------------------------------------- powers
def _powers(image: NDArray[np.uint8], ground: Ground, sinogram: NDArray[np.float32]) -> Powers:
    detail = image.astype(np.float32) - _median(image)
    spectrum = scipy.fft.rfft2(detail)
    powers = np.stack(
        [scipy.fft.irfft2(spectrum * band, image.shape).ravel()[ground.points] ** 2 for band in _filters(image.shape)],
        axis=1,
    ).astype(np.float64)
    bands = len(CENTRES)
    quantum, electronic = _expected(image.shape, ground, sinogram)
    return Powers(
        bands=powers[:, :bands],
        wide=powers[:, bands],
        directions=powers[:, bands + 1 :].reshape(-1, len(_WEDGE_CENTRES), _WEDGES),
        quantum=quantum,
        electronic=electronic,
    )


@lru_cache(maxsize=4)
def _filters(shape: tuple[int, int]) -> NDArray[np.float32]:
    """Frequency responses (bands + 1 + wedges, height, width // 2 + 1): the bands, all of them, the wedges."""
    fy, fx = np.fft.fftfreq(shape[0])[:, None] * 2, np.fft.rfftfreq(shape[1])[None] * 2
    f = np.hypot(fy, fx)
    # View k's noise lies along its own direction (cos, sin) of (columns, rows).
    angle = np.mod(np.arctan2(fy, fx), math.pi)
    bands = [np.exp(-(((f - centre) / _WIDTH) ** 2) / 2) for centre in CENTRES]
    wide = 1 / (1 + np.exp(-(f - CENTRES[0] + _WIDTH) / (_WIDTH / 3)))
    rings = [np.exp(-(((f - centre) / _WEDGE_WIDTH) ** 2) / 2) for centre in _WEDGE_CENTRES]
    wedges = [ring * _wedge(angle, k) for ring in rings for k in range(_WEDGES)]
    return np.array([*bands, wide, *wedges], np.float32)


def _wedge(angle: Floats, k: int) -> Floats:
    """Amplitude of wedge k at an angle; the squares of all wedges sum to one."""
    away = np.mod(angle - math.pi * k / _WEDGES + math.pi / 2, math.pi) - math.pi / 2
    return np.where(np.abs(away) < math.pi / _WEDGES, np.cos(away * (_WEDGES / 2)), 0.0)


def _expected(shape: tuple[int, ...], ground: Ground, sinogram: NDArray[np.float32]) -> tuple[Floats, Floats]:
    sinogram = sinogram[::2]  # half the views are enough for the mean over a wedge
    views, channels = sinogram.shape
    y, x = np.divmod(ground.points, shape[1])
    angles = np.arange(views) * (math.pi / views)
    across, down = (at.astype(np.float32)[:, None] for at in (x - (shape[1] - 1) / 2, y - (shape[0] - 1) / 2))
    channel = across * np.cos(angles).astype(np.float32) + down * np.sin(angles).astype(np.float32)
    nearest = np.clip(np.rint(channel + np.float32((channels - 1) / 2)), 0, channels - 1).astype(np.int32)
    rays = np.exp(sinogram) / bowtie(channels, pixel_mm=ground.pixel_mm)
    at_points = rays.ravel()[nearest + np.arange(views, dtype=np.int32) * channels].astype(np.float64)
    shares = np.stack([_wedge(angles, k) ** 2 for k in range(_WEDGES)], axis=1) / views
    return at_points @ shares, at_points**2 @ shares
