"""Portable functions against numpy's and scipy's, their laws and their edges."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage, special, stats

from harness.imaging import portable
from harness.imaging.draws import Draws, generator

Floats = NDArray[np.float64]


def spread(low: float, high: float, count: int = 50_000) -> Floats:
    return np.random.default_rng(0).uniform(low, high, count)


def ulps(found: Floats, expected: Floats) -> float:
    """The largest difference, in units of the last place."""
    return float(np.max(np.abs(found - expected) / np.spacing(np.abs(expected))))


@njit  # type: ignore[untyped-decorator]
def counts_of(mean: float, shares: Floats) -> Floats:
    found = np.empty(shares.size)
    for i in range(shares.size):
        found[i] = portable.poisson_quantile(mean, shares[i])
    return found


# -------------------------------------------------------------------------------- elementary functions
# The bounds are what was measured, 1 to 3 units, and one more: the reference rounds too.
@pytest.mark.parametrize(("low", "high"), [(-700, 709), (-1, 1), (-1e-9, 1e-9)])
def test_exp(low: float, high: float) -> None:
    x = spread(low, high)
    assert ulps(portable.exps(x), np.exp(x)) <= 2


@pytest.mark.parametrize(("low", "high"), [(-700, 700), (-0.5, 0.5), (-40, 0)])
def test_log(low: float, high: float) -> None:
    x = np.exp(spread(low, high, 10_000))
    found = np.array([portable.log(v) for v in x])
    np.testing.assert_allclose(found, np.log(x), rtol=1e-15, atol=2e-16)


@pytest.mark.parametrize("reach", [1e-6, 4.0, 1e3, 1e5])
def test_sines_and_cosines(reach: float) -> None:
    x = spread(-reach, reach)
    np.testing.assert_allclose(portable.sines(x), np.sin(x), rtol=1e-15, atol=4e-16)
    np.testing.assert_allclose(portable.cosines(x), np.cos(x), rtol=1e-15, atol=4e-16)
    np.testing.assert_allclose(portable.sines(x) ** 2 + portable.cosines(x) ** 2, 1, rtol=1e-15)


def test_angles() -> None:
    rng = np.random.default_rng(1)
    y, x = rng.normal(size=(2, 50_000)) * np.exp(rng.uniform(-30, 30, (2, 50_000)))
    assert ulps(portable.angles(y, x), np.arctan2(y, x)) <= 4
    axes = [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (0, 0)]
    for down, right in axes:
        assert portable.atan2(float(down), float(right)) == pytest.approx(math.atan2(down, right), abs=1e-15)


@pytest.mark.parametrize("exponent", [0.5, 1 / 3, 2.5, -1.7, 0.0])
def test_powers(exponent: float) -> None:
    x = np.exp(spread(-20, 20))
    np.testing.assert_allclose(portable.powers(x, exponent), x**exponent, rtol=1e-14)
    assert portable.power(0.0, 0.6) == 0.0


def test_edges() -> None:
    assert portable.exp(0.0) == 1.0
    assert portable.exp(-745.0) == portable.exp(-1e9) == math.exp(-745)  # the smallest number there is
    assert portable.exp(1e9) == portable.exp(709.0) == pytest.approx(math.exp(709), rel=1e-15)
    assert portable.log(1.0) == 0.0
    assert portable.log(5e-324) == pytest.approx(math.log(5e-324), rel=1e-15)
    assert portable.sin(0.0) == 0.0
    assert portable.cos(0.0) == 1.0


@settings(deadline=None)  # the first call compiles
@given(st.floats(1e-300, 1e300))
def test_exp_undoes_log(x: float) -> None:
    # An error of one unit in a logarithm of 700 is 1e-13 of the number.
    assert portable.exp(portable.log(x)) == pytest.approx(x, rel=3e-13)


@settings(deadline=None)  # the first call compiles
@given(st.floats(-1e5, 1e5))
def test_sine_is_odd_and_cosine_even(x: float) -> None:
    assert portable.sin(-x) == pytest.approx(-portable.sin(x), abs=1e-15)
    assert portable.cos(-x) == pytest.approx(portable.cos(x), abs=1e-15)


# -------------------------------------------------------------------------------- quantiles
def test_normal_quantile() -> None:
    u = np.concatenate([spread(0, 1), 10 ** -spread(0, 300, 5000), 1 - 10 ** -spread(1, 15, 5000), [2.0**-54]])
    np.testing.assert_allclose(portable.normal_quantiles(u), special.ndtri(u), rtol=1e-14, atol=1e-15)
    assert portable.normal_quantile(0.5) == 0.0


@settings(deadline=None)  # the first call compiles
@given(st.integers(1, 2**53 - 1))
def test_normal_quantile_is_symmetric(odd: int) -> None:
    u = odd * 2.0**-53
    assert portable.normal_quantile(1 - u) == -portable.normal_quantile(u)


@settings(deadline=None)  # the first call compiles
@given(st.floats(2**-54, 1 - 2**-53), st.floats(2**-54, 1 - 2**-53), st.floats(0, 1e6))
def test_quantiles_grow_with_the_share(one: float, other: float, mean: float) -> None:
    """Of all shares that a draw can be: the least is 2^-54."""
    low, high = sorted((one, other))
    # At the seams of its three pieces the normal quantile may step back by its rounding.
    assert portable.normal_quantile(low) <= portable.normal_quantile(high) + 1e-14
    assert portable.poisson_quantile(mean, low) <= portable.poisson_quantile(mean, high)


@pytest.mark.parametrize("mean", [0.0, 1e-9, 0.01, 0.5, 3.0, 10.0, 20.0, 31.99])
def test_few_counts_are_the_exact_quantile(mean: float) -> None:
    u = Draws(generator(1)).shares(20_000)
    np.testing.assert_array_equal(counts_of(mean, u), stats.poisson.ppf(u, mean))
    ends = np.array([2.0**-54, 1 - 2.0**-53])
    assert np.abs(counts_of(mean, ends) - stats.poisson.ppf(ends, mean)).max() <= 2  # sums near 1 round


@pytest.mark.parametrize("mean", [32.0, 40.0, 100.0, 4e3, 2e5])
def test_many_counts_are_next_to_the_exact_quantile_at_most(mean: float) -> None:
    u = Draws(generator(2)).shares(50_000)
    off = np.abs(counts_of(mean, u) - stats.poisson.ppf(u, mean))
    assert off.max() <= 1
    assert off.mean() <= 2e-4


@pytest.mark.parametrize("mean", [0.3, 5.0, 31.0, 33.0, 500.0, 1e5])
def test_counts_have_the_mean_and_variance_of_poissons(mean: float) -> None:
    n = 200_000
    counts = counts_of(mean, Draws(generator(3)).shares(n))
    assert counts.mean() == pytest.approx(mean, abs=4 * math.sqrt(mean / n))
    assert counts.var() == pytest.approx(mean, abs=4 * math.sqrt((2 * mean**2 + mean) / n))


# -------------------------------------------------------------------------------- blur
@pytest.mark.parametrize("sigma", [0.3, 0.9, 2.0, 5.5])
@pytest.mark.parametrize(("border", "mode"), [("reflect", "mirror"), ("edge", "nearest")])
def test_blur_is_scipys(sigma: float, border: str, mode: Literal["mirror", "nearest"]) -> None:
    image = np.random.default_rng(4).uniform(-1000, 1200, (40, 57)).astype(np.float32)
    expected = ndimage.gaussian_filter(image.astype(np.float64), sigma, mode=mode, truncate=4)
    np.testing.assert_allclose(portable.gaussian_blur(image, sigma, border=border), expected, atol=1e-3)


@settings(deadline=None)  # the first call compiles
@given(st.floats(0.2, 8), st.floats(-1e4, 1e4, width=32))
def test_blur_keeps_a_constant(sigma: float, level: float) -> None:
    blurred = portable.gaussian_blur(np.full((40, 33), level, np.float32), sigma)
    np.testing.assert_allclose(blurred, level, rtol=1e-6)


@settings(deadline=None)  # the first call compiles
@given(st.floats(0.2, 20))
def test_weights_are_symmetric_and_sum_to_one(sigma: float) -> None:
    weights = portable.gaussian_weights(sigma)
    assert math.fsum(weights) == pytest.approx(1, abs=1e-14)
    assert (weights == weights[::-1]).all()
    assert weights.argmax() == len(weights) // 2


@pytest.mark.parametrize(
    ("one", "many"),
    [(portable.exp, portable.exps), (portable.sin, portable.sines), (portable.cos, portable.cosines)],
)
def test_vectors_are_made_of_single_numbers(one: Callable[[float], float], many: Callable[[Floats], Floats]) -> None:
    x = spread(-50, 50, 200)
    assert many(x).tolist() == [one(v) for v in x]
