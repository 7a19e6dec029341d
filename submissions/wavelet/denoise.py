"""Wavelet shrinkage: undecimated B3-spline wavelets (Starck and Murtagh 1994), BayesShrink (Chang 2000) a scale."""

import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import convolve1d

SOURCE, TARGET = Path(os.environ["HARNESS_INPUT"]), Path(os.environ["HARNESS_OUTPUT"])
SCALES = 4
SPLINE = np.array([1, 4, 6, 4, 1], np.float32) / 16


def smooth(image, scale):
    """The image at the next coarser scale: the spline with holes of 2**scale - 1 pixels, along rows and columns."""
    kernel = np.zeros(4 * 2**scale + 1, np.float32)
    kernel[:: 2**scale] = SPLINE
    return convolve1d(convolve1d(image, kernel, axis=0, mode="reflect"), kernel, axis=1, mode="reflect")


def details(image):
    """What each scale adds, and the rest; their sum is the image."""
    found = []
    for scale in range(SCALES):
        coarser = smooth(image, scale)
        found.append(image - coarser)
        image = coarser
    return found, image


def noise_of(plane, usable):
    """Standard deviation, from the median absolute deviation."""
    return np.median(np.abs(plane[usable])) / 0.6745


def shrink(plane, usable):
    """Soft threshold var(noise) / std(signal), the noise being what this scale has in most places."""
    noise = noise_of(plane, usable)
    signal = np.sqrt(max(plane[usable].var() - noise**2, 1e-6))
    return np.sign(plane) * np.maximum(np.abs(plane) - noise**2 / signal, 0)


def denoise(name):
    noisy = np.asarray(Image.open(SOURCE / name), dtype=np.float32)
    usable = (noisy > 0) & (noisy < 255)  # clipped air has no noise
    planes, rest = details(noisy)
    clean = rest + sum(shrink(plane, usable) for plane in planes) if usable.any() else noisy
    Image.fromarray(np.uint8(np.clip(clean, 0, 255).round())).save(TARGET / name)


if __name__ == "__main__":
    names = [case["file"] for case in json.loads((SOURCE / "manifest.json").read_text())["cases"]]
    with ProcessPoolExecutor(int(os.environ["OMP_NUM_THREADS"])) as pool:
        list(pool.map(denoise, names))
