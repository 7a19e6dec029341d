"""Seeded random weights, bit-identical everywhere: they depend on no torch generator, libm or order of summation.

A machine without the published weights can score with random networks. Their features respond to noise and blur (the
tests check it), but they are no perceptual measure and compare only with features of the same digest.

Weights are He-scaled: a rectified layer keeps its input's mean square. Centring all filters would cancel the mean that
rectifiers leave behind, but makes the deep network chaotic (any two different images end up equally far apart); without
it distances grow steadily with noise and blur. Only the filters that see the image are centred, by `LEVEL_CENTRING`, so
that texture weighs more than a shift of the grey level.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from harness.base.digests import digest_bytes

SEED = 2602
NOTE = "seeded random weights: values compare only within this extractor"
LEVEL_CENTRING = 0.7

Array = NDArray[np.float32]


def uniform(network: str, key: str, shape: tuple[int, ...], *, std: float, centring: float = 0.0) -> Array:
    """Uniform float32 numbers of mean 0 and standard deviation `std`, from one stream for each (network, key).

    `centring` is the share of every filter's mean (axes 1..) that is subtracted. The numbers are 16-bit integers from
    numpy's RandomState, whose streams are frozen (NEP 19), so that their sums are exact in float64.
    """
    seed = np.frombuffer(hashlib.sha256(f"{SEED} {network} {key}".encode()).digest(), dtype="<u4")
    count = int(np.prod(shape))
    integers = np.frombuffer(np.random.RandomState(seed).bytes(2 * count), dtype="<u2")
    values = integers.astype(np.float64).reshape(shape) - 32767.5
    if centring:
        axes = tuple(range(1, len(shape)))
        values -= centring * values.sum(axis=axes, keepdims=True) / (count // shape[0])
    values *= std / np.sqrt((65536.0**2 - 1.0) / 12.0)
    return values.astype(np.float32)


def digest(tensors: Mapping[str, Array]) -> str:
    """SHA-256 over names, shapes and bytes of the tensors, sorted by name."""
    return digest_bytes(
        *(
            digest_bytes(key.encode(), repr(tensors[key].shape).encode(), tensors[key].tobytes()).encode()
            for key in sorted(tensors)
        )
    )
