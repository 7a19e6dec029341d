"""Result: what a finished run is, what it cost, and how far repeated runs are from each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harness.base.digests import digest_bytes, pixel_bytes
from harness.base.png import Image
from harness.base.structs import Strict
from harness.sandbox import BuildPolicy, Device, Limits


class Times(Strict, frozen=True, kw_only=True):
    """Seconds of wall time."""

    build_s: float
    run_s: float  # the container alone, from its start to its end; the sum where the slices took several runs
    seconds_per_slice: float  # the container's whole time, shared by all slices
    first_output_s: float | None = None  # cold start: from the (first) start until the first output was finished


class Costs(Strict, frozen=True, kw_only=True):
    """What a run took; a peak is None where it could not be measured."""

    times: Times
    peak_memory_bytes: int | None = None
    peak_gpu_memory_bytes: int | None = None


class Repeat(Strict, frozen=True, kw_only=True):
    """How far several runs of the same thing differ from the first: in how many slices, and by how many levels at
    most."""

    runs: int
    differing_slices: int
    largest_difference: int

    def __str__(self) -> str:
        if self.largest_difference == 0:
            return "equal outputs"
        return f"outputs of {self.differing_slices} slices differ, by {self.largest_difference} levels at most"


class Run(Strict, frozen=True, kw_only=True):
    """A finished run, all outputs valid. `outputs` maps the name of every case and further slice to its grey PNG in the
    cache, of the bits of the data set's own."""

    image: str
    outputs: dict[str, str]
    outputs_digest: str  # `digest_outputs`
    device: Device
    seed: int
    limits: Limits
    lowered: tuple[str, ...]
    engine: str
    costs: Costs
    log: str
    build: BuildPolicy | None = None  # what its Dockerfile was held to, if it has one
    repeat: Repeat | None = None
    reused: bool = False


def digest_outputs(outputs: Mapping[str, Image]) -> str:
    """SHA-256 (hex) of names and pixels of outputs, in the order of names."""
    parts: list[bytes] = []
    for name in sorted(outputs):
        parts += [name.encode(), repr(outputs[name].shape).encode(), pixel_bytes(outputs[name])]
    return digest_bytes(*parts)


def compare(first: Mapping[str, Image], others: Sequence[Mapping[str, Image]]) -> Repeat:
    """How far repeated runs (slice -> pixels), at least one, are from the first."""
    largest = {
        name: max(int(np.abs(one[name].astype(np.int32) - pixels).max()) for one in others)
        for name, pixels in first.items()
    }
    return Repeat(
        runs=1 + len(others),
        differing_slices=sum(value > 0 for value in largest.values()),
        largest_difference=max(largest.values()),
    )
