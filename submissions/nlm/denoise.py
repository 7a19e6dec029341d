"""Non-local means (Buades 2005), its strength in proportion to the noise of each slice."""

import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.restoration import denoise_nl_means, estimate_sigma

SOURCE, TARGET = Path(os.environ["HARNESS_INPUT"]), Path(os.environ["HARNESS_OUTPUT"])


def denoise(name):
    noisy = np.asarray(Image.open(SOURCE / name), dtype=np.float32) / 255
    sigma = estimate_sigma(noisy)  # median absolute deviation of the finest wavelet's coefficients
    clean = denoise_nl_means(noisy, patch_size=5, patch_distance=6, h=0.8 * sigma, sigma=sigma, fast_mode=True)
    Image.fromarray(np.uint8((255 * np.clip(clean, 0, 1)).round())).save(TARGET / name)


if __name__ == "__main__":
    names = [case["file"] for case in json.loads((SOURCE / "manifest.json").read_text())["cases"]]
    with ProcessPoolExecutor(int(os.environ["OMP_NUM_THREADS"])) as pool:
        list(pool.map(denoise, names))
