"""Worker processes: apply one function to many slices, on all cores."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextvars import ContextVar
from typing import Any, TypeVar

from harness.base.errors import InfrastructureError
from harness.base.progress import Progress

R = TypeVar("R")

_pool: ContextVar[ProcessPoolExecutor | None] = ContextVar("_pool", default=None)

HANDFUL = 2  # tasks; a worker needs a second or two to start and import


def map_slices(
    function: Callable[..., R],
    tasks: Sequence[tuple[Any, ...]],
    *,
    progress: Progress | None = None,
) -> list[R]:
    """`[function(*task) for task in tasks]` on worker processes, one per core; results in the order of the tasks.

    `function` must be importable by name. Workers start fresh ("spawn": forking a process that holds threads of
    torch or numba can hang) and compute with one thread each, so that results do not depend on how many there are.
    `progress` is called after every task. The first error of a worker is raised here. With at most HANDFUL tasks no
    worker is started, since that would take longer than the tasks. Within `shared_workers` they are those of the block.

    InfrastructureError if a worker dies.
    """
    results: list[R] = [None] * len(tasks)  # type: ignore[list-item]
    if len(tasks) <= HANDFUL:
        for index, task in enumerate(tasks):
            results[index] = function(*task)
            if progress:
                progress(index + 1, len(tasks))
        return results
    with shared_workers(most=len(tasks)) as pool:
        futures = {pool.submit(function, *task): index for index, task in enumerate(tasks)}
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                results[futures[future]] = future.result()
                if progress:
                    progress(done, len(tasks))
        except BrokenProcessPool as error:
            raise InfrastructureError(
                "a worker process died, most likely because memory ran out", fix="free memory, then run it again"
            ) from error
        finally:
            for future in futures:
                future.cancel()
    return results


@contextlib.contextmanager
def shared_workers(*, most: int | None = None) -> Iterator[ProcessPoolExecutor]:
    """Worker processes for every `map_slices` of the block, at most `most` of them: to start one takes a second. A
    block within another has the workers of the outer one."""
    outer = _pool.get()
    if outer is not None:
        yield outer
        return
    cores = os.cpu_count() or 1
    workers = cores if most is None else max(1, min(cores, most))
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    token = _pool.set(pool)
    try:
        yield pool
    finally:
        _pool.reset(token)
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Ctrl-C is for the parent: it cancels what is queued and waits for the slices in work.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in (
        *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"),
        "OPENCV_FOR_THREADS_NUM",
    ):
        os.environ[name] = "1"


def _end_with_parent() -> None:
    """End this process as soon as its parent is gone, even one that was killed and could not say so."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # a worker has one
    parent.join()  # waits for the other end of a pipe to close, which the kernel does
    os._exit(1)
