"""Bilateral filter (Tomasi and Manduchi 1998), its range set by the noise of each slice."""

import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, uniform_filter
from skimage.restoration import denoise_bilateral

SOURCE, TARGET = Path(os.environ["HARNESS_INPUT"]), Path(os.environ["HARNESS_OUTPUT"])
RANGE = 2.5  # times the noise: a difference of one pixel's noise to another's counts nearly in full
REACH = 1.5  # pixels


def noise(image):
    """Standard deviation of what is finer than 2 pixels, from its median absolute deviation, away from clipped air."""
    detail = image - gaussian_filter(image, 2)
    usable = uniform_filter(((image == 0) | (image == 255)).astype(np.float32), 15) < 0.25
    return np.median(np.abs(detail[usable])) / 0.6745 if usable.any() else 0.0


def denoise(name):
    noisy = np.asarray(Image.open(SOURCE / name), dtype=np.float32)
    spread = max(RANGE * noise(noisy), 1e-3) / 255
    clean = 255 * denoise_bilateral(noisy / 255, win_size=7, sigma_color=spread, sigma_spatial=REACH)
    Image.fromarray(np.uint8(np.clip(clean, 0, 255).round())).save(TARGET / name)


if __name__ == "__main__":
    names = [case["file"] for case in json.loads((SOURCE / "manifest.json").read_text())["cases"]]
    with ProcessPoolExecutor(int(os.environ["OMP_NUM_THREADS"])) as pool:
        list(pool.map(denoise, names))
