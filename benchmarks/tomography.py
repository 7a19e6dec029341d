"""Tomography side by side with scikit-image: the kernels, their floor, and the published Add Noise over a folder.

    python benchmarks/tomography.py                   # 512 x 512, 512 angles, 8 slices of the phantom, 3 rounds
    python benchmarks/tomography.py --rounds 1 --slices 2 --size 256

All ways take turns in every round; medians. Processor seconds stand beside those of the clock, since they hold on a
busy machine, too. Compiling, and the first calls, are not counted; starting the worker processes is.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import skimage.transform
from numba import njit
from numpy.random import RandomState
from numpy.typing import NDArray

from harness.base.slices import read_grey, write_grey
from harness.base.workers import map_slices
from harness.imaging import tomography
from harness.imaging.noise import DOSE, add_noise, project
from harness.imaging.tomography import exact

CORES = os.cpu_count() or 1


# -------------------------------------------------------------------------------- Add Noise on a file
def by_harness(source: Path, target: Path, seed: int, threads: int | None = None) -> None:
    """One slice's published noise, from file to file."""
    write_grey(target, add_noise(project(read_grey(source), threads=threads), rng=RandomState(seed), threads=threads))


def by_scikit_image(source: Path, target: Path, seed: int) -> None:
    """The same by the formula of arXiv 2602.19314 with scikit-image's transforms."""
    image = read_grey(source)
    angles = np.linspace(0, 180, len(image), endpoint=False)
    x = (image - image.min()) / (image.max() - image.min())
    p = skimage.transform.radon(x, angles) / 500
    rng, photons = RandomState(seed), DOSE * 200 * 1000
    mean = photons * np.exp(-p)
    n = rng.poisson(mean) + rng.normal(0, 0.05 * np.sqrt(mean))
    q = -np.log(np.where(n > 0, n / photons, 1))
    y = skimage.transform.iradon(500 * q, angles, filter_name="hann")
    write_grey(target, (255 * ((y - y.min()) / (y.max() - y.min()))).astype(np.uint8))


def one_by_one(function: Callable[..., None], tasks: list[tuple[Path, Path, int]]) -> None:
    for task in tasks:
        function(*task)


# -------------------------------------------------------------------------------- what the machine can do
@njit(error_model="numpy")  # type: ignore[untyped-decorator]
def _fetch(table: NDArray[Any], places: NDArray[np.uint32], repeats: int) -> float:
    """Values fetched from a table in the first-level cache at places known beforehand, and only added up."""
    total = 0.0
    for _ in range(repeats):
        a = b = c = d = e = f = g = h = table[0] - table[0]  # eight sums at a time hide the additions' latency
        for j in range(len(places)):  # unsigned indices spare numba's look at negative ones
            p = places[j]
            a += table[np.uintp(p[np.uintp(0)])]
            b += table[np.uintp(p[np.uintp(1)])]
            c += table[np.uintp(p[np.uintp(2)])]
            d += table[np.uintp(p[np.uintp(3)])]
            e += table[np.uintp(p[np.uintp(4)])]
            f += table[np.uintp(p[np.uintp(5)])]
            g += table[np.uintp(p[np.uintp(6)])]
            h += table[np.uintp(p[np.uintp(7)])]
        total += a + b + c + d + e + f + g + h
    return total


@njit(error_model="numpy")  # type: ignore[untyped-decorator]
def _calculate(values: NDArray[Any], factor: Any, term: Any, repeats: int) -> None:
    """Sixteen multiplications and additions, not fused, on every value of an array in the first-level cache."""
    for _ in range(repeats):
        for j in range(len(values)):
            x = values[j]
            x = x * factor + term
            x = x * factor + term
            x = x * factor + term
            x = x * factor + term
            x = x * factor + term
            x = x * factor + term
            x = x * factor + term
            values[j] = x * factor + term


def rates(dtype: type[np.floating], rounds: int) -> tuple[float, float, float]:
    """Best of the rounds, one thread: values fetched a second, unfused operations a second, bytes copied a second."""
    table = np.ones(2048, dtype)
    places = np.random.default_rng(0).integers(0, 2048, (512, 8), dtype=np.uint32)
    source, target = np.zeros(1 << 25, np.uint8), np.zeros(1 << 25, np.uint8)
    work: list[tuple[float, Callable[[], Any]]] = [
        (places.size * 5000, lambda: _fetch(table, places, 5000)),
        (table.size * 16 * 5000, lambda: _calculate(table, dtype(0.5), dtype(0.5), 5000)),
        (2 * source.size, lambda: np.copyto(target, source)),
    ]
    found = []
    for amount, run in work:
        run()
        found.append(max(amount / seconds(run)[1] for _ in range(max(3, rounds))))
    return found[0], found[1], found[2]


def seconds(run: Callable[[], Any]) -> tuple[float, float]:
    """By the clock, and of processors, worker processes that have ended included."""
    began = time.perf_counter(), _processor_seconds()
    run()
    return time.perf_counter() - began[0], _processor_seconds() - began[1]


def _processor_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def compare(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, tuple[float, float]]:
    """Median seconds of every way, by the clock and of processors; all take turns."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            taken[name].append(seconds(way))
    median = statistics.median
    return {name: (median(t[0] for t in times), median(t[1] for t in times)) for name, times in taken.items()}


# -------------------------------------------------------------------------------- tables
def cells(took: tuple[float, float], reference: tuple[float, float]) -> str:
    """Both times, and how often they fit into the reference's."""
    ratios = [theirs / own for theirs, own in zip(reference, took, strict=True)]
    return f"{took[0]:.3f} | {took[1]:.3f} | {ratios[0]:.1f} | {ratios[1]:.1f}"


def kernels(image: NDArray[np.uint8], rounds: int) -> None:
    """Tables of the transforms' times and of their floors."""
    n = len(image)
    angles = np.linspace(0, 180, n, endpoint=False)
    x = (image - image.min()) / np.ptp(image)
    sinogram = skimage.transform.radon(x, angles)
    mu = (x * tomography.MU_WATER).astype(np.float32)
    p = tomography.radon(mu, pixel_mm=1.0, views=n)
    ways: dict[str, Callable[[], Any]] = {
        "radon, scikit-image": partial(skimage.transform.radon, x, angles),
        "FBP, scikit-image": partial(skimage.transform.iradon, sinogram, angles, filter_name="hann"),
    }
    for threads in sorted({1, CORES}):
        label = f"{threads} thread" + "s" * (threads > 1)
        ways |= {
            f"radon, float64, {label}": partial(exact.radon, x, angles, threads=threads),
            f"FBP, float64, {label}": partial(exact.iradon, sinogram, angles, filter_name="hann", threads=threads),
            f"radon, float32, {label}": partial(tomography.radon, mu, pixel_mm=1.0, views=n, threads=threads),
            f"FBP, float32, {label}": partial(tomography.fbp, p, pixel_mm=1.0, kernel="hann", threads=threads),
        }
    first = {name: way() for name, way in ways.items()}
    median = compare(ways, rounds)
    print("| way | s | processor s | times as fast | by processor s | largest difference, of the range |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, took in median.items():
        reference = f"{name.split(',')[0]}, scikit-image"
        off = "another discretisation"
        if "float32" not in name:
            off = f"{np.abs(first[name] - first[reference]).max() / np.ptp(first[reference]):.0e}".replace("0e+00", "0")
        print(f"| {name} | {cells(took, median[reference])} | {off} |")

    print("\n| kernel, 1 thread | places | fetched | operations | bytes | floor, s | processor s | times the floor |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    disk = int((np.hypot(*(np.mgrid[:n, :n] - n // 2)) <= n // 2).sum())
    # Places a view, values fetched at each, operations there with finding it (rounding down is one).
    counts = {
        "radon, float64": (_inside(n, angles), 4, 22),
        "FBP, float64": (disk, 2, 7),
        "radon, float32": (_inside(n, angles), 2, 7),
        "FBP, float32": (disk, 2, 7),
    }
    for dtype in (np.float64, np.float32):
        fetch, calculate, copy = rates(dtype, rounds)
        width = np.dtype(dtype).itemsize
        print(f"| *machine, {dtype.__name__}, a second* | | *{fetch:.2g}* | *{calculate:.2g}* | *{copy:.2g}* | | | |")
        for name, (inside, fetched, operations) in counts.items():
            if not name.endswith(dtype.__name__):
                continue
            places = inside * n
            size = 2 * n * n * width
            floor = max(places * fetched / fetch, places * operations / calculate, size / copy)
            spent = median[f"{name}, 1 thread"][1]
            print(
                f"| {name} | {places:.2g} | {places * fetched:.2g} | {places * operations:.2g} | {size:.2g} "
                f"| {floor:.3f} | {spent:.3f} | {spent / floor:.1f} |"
            )


def _inside(n: int, angles: NDArray[np.float64]) -> int:
    """Places of a turned n x n image that fall inside the image, mean of a view: those that radon must look at."""
    grid = np.mgrid[:n, :n] - n // 2
    found = []
    for angle in np.deg2rad(angles[:: max(1, n // 32)]):
        across = np.cos(angle) * grid[1] + np.sin(angle) * grid[0]
        down = np.cos(angle) * grid[0] - np.sin(angle) * grid[1]
        found.append((np.maximum(np.abs(across), np.abs(down)) <= n / 2).sum())
    return round(float(np.mean(found)))


def folder(images: list[NDArray[np.uint8]], rounds: int) -> None:
    """Table of the published Add Noise over a folder of slices, and of what a kept sinogram saves."""
    with tempfile.TemporaryDirectory() as place:
        names = [f"{index:04}.png" for index in range(len(images))]
        source, reference, found = (Path(place) / name for name in ("source", "reference", "found"))
        for path in (source, reference, found):
            path.mkdir()
        for name, image in zip(names, images, strict=True):
            write_grey(source / name, image)
        tasks = [(source / name, found / name, seed) for seed, name in enumerate(names)]
        sinograms = [project(image) for image in images]
        first = f"scikit-image, slice by slice, {len(images)} slices"
        beside = [(path, reference / path.name, seed) for path, _, seed in tasks]
        ways: dict[str, Callable[[], Any]] = {
            first: partial(one_by_one, by_scikit_image, beside),
            "harness, slice by slice, 1 thread": partial(one_by_one, partial(by_harness, threads=1), tasks),
            f"harness, slice by slice, {CORES} threads": partial(one_by_one, partial(by_harness, threads=CORES), tasks),
            f"harness, {CORES} worker processes": partial(map_slices, by_harness, tasks),
            "harness, 1 thread, sinograms kept: another dose or seed": lambda: [
                add_noise(sinogram, rng=RandomState(1), dose=DOSE / 2, threads=1) for sinogram in sinograms
            ],
        }
        median = compare(ways, rounds)
        equal = sum(np.array_equal(read_grey(found / name), read_grey(reference / name)) for name in names)
    print("| published Add Noise | s | processor s | times as fast | by processor s |\n|---|--:|--:|--:|--:|")
    for name, took in median.items():
        print(f"| {name} | {cells(took, median[first])} |")
    print(f"\nImages equal to scikit-image's: {equal} of {len(names)}.")


def main() -> None:
    from harness.phantom import levels, make_patient, scan_slice

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("size", 512), ("slices", 8), ("rounds", 3), ("seed", 2602)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "Radon transform: image must be zero")
    patient = make_patient(options.seed, 0)
    images = [scan_slice(patient, level, size=options.size, dose=0.02).gt for level in levels(options.slices)]
    print(
        f"{options.size} x {options.size}, {options.size} angles, median of {options.rounds} rounds, {CORES} cores, "
        f"scikit-image {version('scikit-image')}\n"
    )
    kernels(images[len(images) // 2], options.rounds)
    print()
    folder(images, options.rounds)


if __name__ == "__main__":
    main()
