"""Worker processes: one function over many slices, on all cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from harness.base.errors import InfrastructureError
from harness.base.progress import Progress

R = TypeVar("R")

HANDFUL = 2  # tasks; a worker takes a second or two to start and import


def map_slices(
    function: Callable[..., R],
    tasks: Sequence[tuple[Any, ...]],
    *,
    progress: Progress | None = None,
) -> list[R]:
    """`[function(*task) for task in tasks]` on worker processes, one a core; results in the order of the tasks.

    `function` must be importable by name. Workers start fresh ("spawn": forking a process that holds threads of
    torch or numba can hang) and compute with one thread each, so that results do not depend on how many there are.
    `progress` is told (done, total) after every task. The first error of a worker is raised here. So few tasks that
    starting workers would take longer than doing them are done in this process.
    """
    workers = max(1, min(os.cpu_count() or 1, len(tasks)))
    results: list[R] = [None] * len(tasks)  # type: ignore[list-item]
    if len(tasks) <= HANDFUL:
        for index, task in enumerate(tasks):
            results[index] = function(*task)
            if progress:
                progress(index + 1, len(tasks))
        return results
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        futures = {pool.submit(function, *task): index for index, task in enumerate(tasks)}
        for done, future in enumerate(as_completed(futures), start=1):
            results[futures[future]] = future.result()
            if progress:
                progress(done, len(tasks))
    except BrokenProcessPool as error:
        raise InfrastructureError(
            "a worker process died (most often: out of memory)", fix="free memory and run again"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return results


def _start_worker() -> None:
    # Ctrl-C is the parent's business; it cancels what is queued and waits for the slices in hand.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"
