"""Random numbers from raw bits: a frozen stream, in range, and spread as they should be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.imaging.draws import Draws, generator


def test_the_stream_is_frozen() -> None:
    """PCG64's raw output is promised to stay (NEP 19); these were computed with numpy 2.4 on x86-64, and `shares` from
    them by hand: (raw // 2^11 + 1/2) / 2^53."""
    raw = [4020246513898046474, 2837440877694577231, 7328205760604092414, 12249273976799221403]
    assert np.random.PCG64([2608, 0]).random_raw(4).tolist() == raw
    assert Draws(generator(2608, 0)).shares(4).tolist() == [(bits // 2048 + 0.5) / 2**53 for bits in raw]
    assert Draws(generator(2608, 0)).normals((2, 2)).tolist() == [
        [-0.7791760768670817, -1.0201950676801697],
        [-0.2604383547433664, 0.4234992381363138],
    ]


def test_two_of_one_generator_continue_its_stream() -> None:
    rng = generator(5)
    parts = np.concatenate([Draws(rng).shares(3), Draws(rng).shares(4)])
    np.testing.assert_array_equal(parts, Draws(generator(5)).shares(7))


def test_every_number_takes_one_raw_output() -> None:
    draws = Draws(generator(8))
    for drawn in (draws.normals(3), draws.uniforms(0, 1, (2, 2)), draws.integer(0, 10), draws.chosen(2, 5)):
        assert np.isfinite(drawn).all()
    assert draws.share() == Draws(generator(8)).shares(14)[-1]
    last = Draws(generator(8)).shares(15)[-1]
    assert draws.uniform(2, 4) == 2 + 2 * last


class _Extreme:
    """A generator whose bits are all the same."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.bit_generator = self

    def random_raw(self, count: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        return np.full(count, self.bits, np.uint64)


@pytest.mark.parametrize("bits", [0, 2**64 - 1])
def test_no_bits_leave_the_open_interval(bits: int) -> None:
    draws = Draws(_Extreme(bits))  # type: ignore[arg-type]
    assert 0 < draws.share() < 1
    assert np.isfinite(draws.normals(2)).all()
    assert draws.integer(3, 7) == (3 if bits == 0 else 6)


def test_shares_and_normals_are_spread_as_they_should_be() -> None:
    draws = Draws(generator(1))
    assert stats.kstest(draws.shares(100_000), "uniform").pvalue > 0.01
    assert stats.kstest(draws.normals(100_000), "norm").pvalue > 0.01
    assert stats.kstest(draws.uniforms(-3, 5, 10_000), "uniform", args=(-3, 8)).pvalue > 0.01
    normal = [draws.normal(2, 3) for _ in range(2000)]
    assert stats.kstest(normal, "norm", args=(2, 3)).pvalue > 0.01
    assert stats.chisquare(np.bincount([draws.integer(0, 4) for _ in range(4000)], minlength=4)).pvalue > 0.01


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 2**32), st.integers(0, 40), st.integers(0, 40))
def test_what_is_chosen_is_chosen_once(key: int, count: int, more: int) -> None:
    chosen = Draws(generator(key)).chosen(count, count + more)
    assert len(chosen) == count == len(set(chosen.tolist()))
    assert ((chosen >= 0) & (chosen < count + more)).all()


def test_everything_is_chosen_equally_often_and_no_more_than_there_is() -> None:
    draws = Draws(generator(2))
    firsts = np.bincount([int(draws.chosen(2, 6)[0]) for _ in range(6000)], minlength=6)
    assert stats.chisquare(firsts).pvalue > 0.01
    with pytest.raises(ValueError, match="cannot choose 3 of 2"):
        draws.chosen(3, 2)
