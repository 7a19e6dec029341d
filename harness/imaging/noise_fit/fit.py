"""Photons, electronic noise and reconstruction kernel from the noise of low-dose slices, by imitating them.

A first guess of the scanner scans the slices (`observe.imitate`), the result is measured exactly as the slices were,
and the guess is corrected by the difference. So the effects of measuring (interpolation, rounding, clipping, photon
starvation, the median that stands for the anatomy) cancel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from harness.base.progress import Progress
from harness.base.structs import Strict
from harness.imaging.insertion import Scanner
from harness.imaging.noise_fit.observe import (
    CENTRES,
    DIRECTIONS_DF,
    Floats,
    Ground,
    Powers,
    energy,
    imitate,
    observe,
    prepare,
)
from harness.imaging.tomography import filter_response

FEWEST_SLICES = 2
FEWEST_POINTS = 500
_STEPS = (1.0, 1.0, 1.0, 0.7, 0.5, 0.35)
"""Share of the difference that each round corrects: all of it at first, less once it is mostly chance."""
_FIRST_GUESS = 1e5
_KNOTS = 33
_CAP = 5.0
"""Powers are capped at this multiple of the expected power, so that an edge taken for noise weighs little."""


class Match(Strict, frozen=True, kw_only=True):
    """A quantity measured in the user's slices and in their imitation by the fitted scanner."""

    measured: float
    reproduced: float


class Fit(Strict, frozen=True, kw_only=True):
    """The scanner at the slices' own dose (`photons` are those of these slices), and how well it imitates them."""

    scanner: Scanner
    electronic_error: float
    """Standard error of the electronic noise, in photons: jackknife over slices, photons and kernel held."""
    variance_residual: float
    """Root mean square of 1 - measured / modelled noise power over ten classes of modelled power."""
    body_hu: Match
    """Standard deviation of the noise finer than about 15 pixels, in HU, in soft tissue."""
    lung_hu: Match | None
    """The same in the lung, vessels included; None where too little of the lung is smooth and not clipped."""
    frequency: Match
    """Mean frequency of the noise power spectrum above 0.15 Nyquist in soft tissue, in 1/mm."""
    pixels: int
    longest_path: float
    """The largest line integral."""
    warnings: tuple[str, ...]


class _Shape(NamedTuple):
    """Electronic over quantum variance, (s/N)^2 / (1/N) = s^2/N, from powers by direction, and its standard error."""

    ratio: float
    error: float


def fit_scanner(
    slices: Sequence[NDArray[np.uint8]],
    *,
    window_hu: tuple[float, float],
    pixel_mm: Sequence[float],
    seed: int = 0,
    progress: Progress | None = None,
) -> Fit:
    """The scanner whose noise the slices show (uint8, height x width each; grey 0 and 255 are `window_hu`).

    `pixel_mm` holds the pixel size of each slice; `progress` gets the number of imitated scans, done and in all. The
    same slices and seed give the same fit. The kernel has gain 1 at frequency 0, where anatomy hides the noise: its
    square is extrapolated from 0.2 to 0.4 Nyquist by an even parabola. The photons carry the error of that; the noise
    does not, since it depends only on the ratio of the two. ValueError where there are too few slices or too little
    smooth tissue, or an array is not a slice.
    """
    _check(slices, window_hu, pixel_mm)
    grounds = [
        prepare(image, window_hu=window_hu, pixel_mm=mm, seed=seed) for image, mm in zip(slices, pixel_mm, strict=True)
    ]
    pixels = sum(int(ground.tissue.sum()) for ground in grounds)
    if pixels < FEWEST_POINTS:
        raise ValueError(
            f"expected at least {FEWEST_POINTS} pixels of smooth soft tissue (-200 to 130 HU) without clipping, found "
            f"{pixels}: give more slices, or check window_hu"
        )
    seen = [observe(image, ground) for image, ground in zip(slices, grounds, strict=True)]
    measured = _shape(seen, grounds)

    total, done = (len(_STEPS) + 1) * len(slices), 0

    def imitated(scanner: Scanner, round_: int) -> list[Powers]:
        nonlocal done
        made = []
        for index, ground in enumerate(grounds):
            made.append(imitate(ground, scanner, np.random.default_rng([seed, round_, index])))
            done += 1
            if progress is not None:
                progress(done, total)
        return made

    gains = np.full(len(CENTRES), 1 / _FIRST_GUESS)  # squared kernel over photons
    ratio = 0.0
    for round_, step in enumerate(_STEPS):
        made = imitated(_scanner(gains, ratio), round_)
        gains = gains * _excess(seen, made, grounds, ratio) ** step
        # The first imitation has an arbitrary number of photons, so its rays starve at another path length.
        ratio = max(ratio + step * (measured.ratio - _shape(made, grounds).ratio), 0.0) if round_ else measured.ratio
    scanner = _scanner(gains, ratio)
    return _judged(scanner, seen, imitated(scanner, len(_STEPS)), grounds, measured)


def training_dose(low: Fit, normal: Fit) -> tuple[Scanner, float]:
    """Scanner and dose with which `insert_noise` gives normal-dose slices the noise of the low-dose slices.

    The scanner is that of the low-dose fit, which shows it better. The dose is the ratio of the two fits' noise powers
    where anatomy is weakest (median of 0.55 to 0.75 Nyquist). Noise that the normal-dose slices already have is not
    inserted again. ValueError where they do not show less noise.
    """
    at = np.arange(0.55, 0.76, 0.05)
    power = [np.interp(at, *_window(fit.scanner)) ** 2 / fit.scanner.photons for fit in (low, normal)]
    dose = float(np.median(power[1] / power[0]))
    if not 0 < dose < 1:
        raise ValueError(
            f"the normal-dose slices do not show less noise than the low-dose slices: {dose:.2f} times its power "
            "between 0.55 and 0.75 Nyquist"
        )
    scanner = Scanner(photons=low.scanner.photons / dose, electronic=low.scanner.electronic, kernel=low.scanner.kernel)
    return scanner, dose


def _window(scanner: Scanner) -> tuple[Floats, Floats]:
    """Frequencies in units of Nyquist, and the kernel's gains there."""
    response = filter_response(2 * _KNOTS, kernel=scanner.kernel) / filter_response(2 * _KNOTS, kernel="ramp")
    return np.linspace(0, 1, len(response)), response


def _check(slices: Sequence[NDArray[np.uint8]], window_hu: tuple[float, float], pixel_mm: Sequence[float]) -> None:
    if len(slices) < FEWEST_SLICES:
        raise ValueError(f"expected at least {FEWEST_SLICES} slices, found {len(slices)}")
    if len(pixel_mm) != len(slices):
        raise ValueError(f"expected a pixel size for each of {len(slices)} slices, found {len(pixel_mm)}")
    if not all(math.isfinite(mm) and mm > 0 for mm in pixel_mm):
        raise ValueError(f"expected pixel sizes above 0 mm, found {min(pixel_mm)}")
    low, high = window_hu
    if not low < high:
        raise ValueError(f"expected a window from low to high HU, found {window_hu}")
    for image in slices:
        if image.ndim != 2 or image.dtype != np.uint8 or min(image.shape) < 64:
            raise ValueError(f"expected 8-bit slices of 64 x 64 or more, found {image.dtype} {image.shape}")


# -------------------------------------------------------------------------------- scanner
def _scanner(gains: Floats, ratio: float) -> Scanner:
    """The scanner of squared kernel over photons at `CENTRES` and electronic over quantum variance."""
    # Anatomy left in the first band can only add power: do not let that band lift the curve above the next.
    intercept, slope = np.polynomial.polynomial.polyfit(CENTRES[1:5] ** 2, gains[1:5], 1)
    start = float(np.clip(intercept, gains[1] / 2, gains[1] * 2))
    gains = gains.copy()
    gains[0] = min(gains[0], max(start + slope * CENTRES[0] ** 2, gains[1] / 2))
    kernel = np.sqrt(gains / start)
    end = max(kernel[-1] + (kernel[-1] - kernel[-2]) * (1 - CENTRES[-1]) / (CENTRES[-1] - CENTRES[-2]), 0.0)
    knots = np.interp(np.linspace(0, 1, _KNOTS), [0, *CENTRES, 1], [1, *kernel, end])
    return Scanner(
        photons=1 / start,
        electronic=math.sqrt(ratio / start),
        kernel=tuple(round(float(gain), 5) for gain in knots),
    )


def _excess(seen: list[Powers], made: list[Powers], grounds: list[Ground], ratio: float) -> Floats:
    """Power of the slices over that of their imitation, (bands,), both without the noise of rounding."""
    rounding, own, imitation = _spectra(seen, made, grounds, ratio)
    floor = 1e-2 * own
    excess = np.clip(np.maximum(own - rounding, floor) / np.maximum(imitation - rounding, floor), 0.01, 100)
    # Chance differs from band to band; kernels are smooth.
    smooth: Floats = np.exp(np.convolve(np.pad(np.log(excess), 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid"))
    return smooth


def _spectra(
    seen: list[Powers], made: list[Powers], grounds: list[Ground], ratio: float
) -> tuple[Floats, Floats, Floats]:
    """Power (bands,) of rounding, of the slices and of their imitation, relative to the power the paths predict."""
    tissue = [ground.tissue for ground in grounds]
    expected = [(p.quantum + ratio * p.electronic).sum(axis=1)[t] for p, t in zip(seen, tissue, strict=True)]
    rounding = sum(
        energy(_shape_of(ground)) / 12 * float((1 / e).sum()) for ground, e in zip(grounds, expected, strict=True)
    ) / sum(len(e) for e in expected)
    spectra = [
        np.array(
            [
                _mean(np.concatenate([p.bands[t, k] / e for p, t, e in zip(powers, tissue, expected, strict=True)]), 1)
                for k in range(len(CENTRES))
            ]
        )
        for powers in (seen, made)
    ]
    return np.asarray(rounding), spectra[0], spectra[1]


def _shape_of(ground: Ground) -> tuple[int, int]:
    height, width = ground.base.shape
    return height, width


# -------------------------------------------------------------------------------- variance against path
def _shape(powers: list[Powers], grounds: list[Ground]) -> _Shape:
    """Non-negative regression of the powers by direction on a quantum and an electronic part.

    Iteratively reweighted least squares for values whose deviation equals their mean, as powers do; values far above
    their mean count as `_CAP` times the mean.
    """
    slices = []
    for p, ground in zip(powers, grounds, strict=True):
        chosen = ground.tissue
        slices.append((p.directions[chosen], p.quantum[chosen], p.electronic[chosen]))
    by_ring = np.concatenate([y / q[:, None] for y, q, _ in slices])
    level = np.array([_mean(by_ring[:, ring].ravel(), 1) for ring in range(DIRECTIONS_DF)])
    y = np.concatenate([(d / level[:, None]).mean(axis=1).ravel() for d, _, _ in slices])
    quantum, electronic = (np.concatenate([part[i].ravel() for part in slices]) for i in (1, 2))
    unit = float(np.mean(quantum) / np.mean(electronic))
    regressors = np.stack([quantum, electronic * unit])
    bounds = np.cumsum([0, *(part[1].size for part in slices)])

    parts = np.array([0.5, 0.5]) * float(np.median(y / quantum))
    for _ in range(50):
        mean = parts @ regressors
        capped = np.minimum(y, _CAP * mean) / _capped_mean(DIRECTIONS_DF)
        weighted = regressors / mean
        normal = [weighted[:, a:b] @ weighted[:, a:b].T for a, b in pairwise(bounds)]
        right = [weighted[:, a:b] @ (capped / mean)[a:b] for a, b in pairwise(bounds)]
        before, parts = parts, _non_negative(sum(normal), sum(right))
        if np.allclose(parts, before, rtol=1e-4, atol=1e-6 * parts.sum()):
            break
    all_normal, all_right = sum(normal), sum(right)
    without = np.array(
        [
            _quotient(np.linalg.solve(all_normal - n, all_right - r))  # may be below 0: a bound would hide the error
            for n, r in zip(normal, right, strict=True)
            if n[0, 0] > 0
        ]
    )
    count = len(without)
    error = math.sqrt((count - 1) / count * float(((without - without.mean()) ** 2).sum()))
    return _Shape(ratio=_quotient(parts) * unit, error=error * unit)


def _non_negative(normal: Floats, right: Floats) -> Floats:
    """The non-negative least-squares solution of two normal equations, the first part above 0."""
    parts: Floats = np.linalg.solve(normal, right).astype(np.float64)
    if parts[1] < 0:
        return np.array([right[0] / normal[0, 0], 0.0])
    if parts[0] <= 0:
        whole = right[1] / normal[1, 1]
        return np.array([1e-3 * whole, whole])
    return parts


def _quotient(parts: Floats) -> float:
    return float(parts[1] / parts[0])


def _mean(values: Floats, df: int) -> float:
    """Mean of values distributed as chi-square over its `df` degrees of freedom, with large values capped."""
    mean = float(np.median(values)) * df / float(chi2.ppf(0.5, df))
    for _ in range(20):
        mean = float(np.minimum(values, _CAP * mean).mean()) / _capped_mean(df)
    return mean


def _capped_mean(df: int) -> float:
    """Mean of min(x, _CAP) for x chi-square of `df` degrees of freedom over `df`."""
    return float(chi2.cdf(_CAP * df, df + 2) + _CAP * chi2.sf(_CAP * df, df))


# -------------------------------------------------------------------------------- judgement
def _judged(scanner: Scanner, seen: list[Powers], made: list[Powers], grounds: list[Ground], measured: _Shape) -> Fit:
    ratio = scanner.electronic**2 / scanner.photons
    rounding, own, imitation = _spectra(seen, made, grounds, ratio)
    nyquist = 0.5 / float(np.mean([ground.pixel_mm for ground in grounds]))
    white = energy(_shape_of(grounds[0]))

    def frequency(spectrum: Floats) -> float:
        density = np.maximum(spectrum - rounding, 0) / white
        return float((CENTRES * density).sum() / density.sum()) * nyquist

    body, lung = (
        _deviations(seen, made, [ground.tissue == inside for ground in grounds], grounds[0].window_hu)
        for inside in (True, False)
    )
    assert body is not None  # fit_scanner has counted its pixels
    # d s / d ratio at fixed photons; where the ratio is 0, the root of its error bounds s from above.
    slope = 2 * math.sqrt(max(ratio, measured.error) / scanner.photons)
    error = measured.error / slope if slope > 0 else 0.0
    longest = max(float(ground.sinogram.max()) for ground in grounds)
    return Fit(
        scanner=scanner,
        electronic_error=error,
        variance_residual=_residual(seen, grounds, ratio),
        body_hu=body,
        lung_hu=lung,
        frequency=Match(measured=frequency(own), reproduced=frequency(imitation)),
        pixels=sum(int(ground.tissue.sum()) for ground in grounds),
        longest_path=longest,
        warnings=tuple(_warnings(scanner, error, longest, body, [ground.pixel_mm for ground in grounds])),
    )


def _deviations(
    seen: list[Powers], made: list[Powers], chosen: list[NDArray[np.bool_]], window_hu: tuple[float, float]
) -> Match | None:
    """Noise of slices and imitation in HU, at the chosen points; None for fewer than `FEWEST_POINTS`."""
    values = [np.concatenate([p.wide[mask] for p, mask in zip(powers, chosen, strict=True)]) for powers in (seen, made)]
    if len(values[0]) < FEWEST_POINTS:
        return None
    hu = (window_hu[1] - window_hu[0]) / 255
    return Match(measured=hu * math.sqrt(_mean(values[0], 1)), reproduced=hu * math.sqrt(_mean(values[1], 1)))


def _residual(seen: list[Powers], grounds: list[Ground], ratio: float) -> float:
    directions, modelled = (
        np.concatenate(parts)
        for parts in (
            [p.directions[ground.tissue].mean(axis=1).ravel() for p, ground in zip(seen, grounds, strict=True)],
            [
                (p.quantum + ratio * p.electronic)[ground.tissue].ravel()
                for p, ground in zip(seen, grounds, strict=True)
            ],
        )
    )
    classes = np.array_split(np.argsort(modelled), 10)
    level = np.array([_mean(directions[c] / modelled[c], DIRECTIONS_DF) for c in classes])
    return float(np.sqrt(np.mean((level / level.mean() - 1) ** 2)))


def _warnings(scanner: Scanner, error: float, longest: float, body: Match, pixel_mm: list[float]) -> list[str]:
    found = []
    if scanner.electronic <= 2 * error:
        found.append(
            f"electronic noise not identifiable: {scanner.electronic:.1f} photons with a standard error of "
            f"{error:.1f}; the longest path is {longest:.1f}"
        )
    if abs(body.reproduced / body.measured - 1) > 0.1:
        found.append(
            f"the noise does not follow this model: {body.measured:.0f} HU in soft tissue, {body.reproduced:.0f} HU in "
            "the imitation"
        )
    if max(pixel_mm) > 1.1 * min(pixel_mm):
        found.append(
            f"pixel sizes from {min(pixel_mm):.2f} to {max(pixel_mm):.2f} mm: the kernel is fitted in units of the "
            "pixel, which is correct only if the reconstruction's sharpness scales with the pixel"
        )
    return found
