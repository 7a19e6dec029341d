"""Random numbers that are the same on every machine and in every version of numpy.

Only a bit generator's raw output is a frozen stream; `Generator.normal`, `poisson`, `choice` and the rest may change,
and those that reject draws move everything behind a draw whose last bit differs. Here every number is one raw output
through an inverse distribution (`harness.imaging.portable`): no draw depends on another one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.imaging.portable import normal_quantiles

Floats = NDArray[np.float64]
Shape = int | tuple[int, ...]


def generator(*key: int) -> np.random.Generator:
    """The generator that a key of whole numbers names, by name PCG64: numpy's own default may change."""
    return np.random.Generator(np.random.PCG64(list(key)))


class Draws:
    """What is drawn from a generator's raw bits; several of one generator continue each other's stream."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._bits = rng.bit_generator

    def shares(self, shape: Shape) -> Floats:
        """Numbers spread evenly between 0 and 1, both excluded: (k + 1/2) / 2^53 of 53 bits k, float64 of `shape`."""
        raw = np.asarray(self._bits.random_raw(int(np.prod(shape))))
        # k + 1/2 has 54 bits from k = 2^52 on: it is rounded, and the last one of all to 2^53, which would make a 1
        shares: Floats = np.minimum(((raw >> np.uint64(11)) + 0.5) * 2.0**-53, 1 - 2.0**-53)
        return shares.reshape(shape)

    def uniforms(self, low: float, high: float, shape: Shape) -> Floats:
        """Numbers spread evenly between `low` and `high`, float64 of `shape`."""
        return low + (high - low) * self.shares(shape)

    def normals(self, shape: Shape) -> Floats:
        """Standard normal numbers, float64 of `shape`."""
        return normal_quantiles(self.shares(shape).ravel()).reshape(shape)  # type: ignore[no-any-return]

    def share(self) -> float:
        """A number between 0 and 1, both excluded."""
        return float(self.shares(1)[0])

    def uniform(self, low: float, high: float) -> float:
        """A number between `low` and `high`."""
        return low + (high - low) * self.share()

    def normal(self, mean: float, deviation: float) -> float:
        """A normal number of this mean and standard deviation."""
        return mean + deviation * float(self.normals(1)[0])

    def integer(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, the latter excluded."""
        return low + int(self.share() * (high - low))

    def chosen(self, count: int, among: int) -> NDArray[np.intp]:
        """`count` different numbers below `among`, in random order; ValueError where there are fewer."""
        if count > among:
            raise ValueError(f"cannot choose {count} of {among}")
        return np.argsort(self.shares(among), kind="stable")[:count]
