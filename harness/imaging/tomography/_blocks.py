"""Views or rows in blocks on threads.

The kernels release the interpreter lock, so plain threads suffice. Unlike numba's own threading layers, these may be
started from any thread and in any worker process.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba

BLOCK = 16
"""Rows or views at a time: few enough that 16 rows of an image and one view stay in the first-level cache."""


def available(threads: int | None) -> int:
    """The number of threads: `threads`, or where it is None NUMBA_NUM_THREADS (the cores; 1 in `map_slices` workers).

    ValueError below 1.
    """
    found = numba.config.NUMBA_NUM_THREADS if threads is None else threads
    if found < 1:
        raise ValueError(f"expected at least one thread, found {found}")
    return int(found)


def in_blocks(work: Callable[[int, int], None], count: int, *, threads: int) -> None:
    """`work(first, end)` over blocks of 0..count; a block's result must not depend on the thread."""
    starts = range(0, count, BLOCK)
    ends = [min(start + BLOCK, count) for start in starts]
    if threads == 1:
        for start, end in zip(starts, ends, strict=True):
            work(start, end)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, starts, ends))  # list() raises a block's error
