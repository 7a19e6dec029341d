"""Total variation (Chambolle 2004), its weight in proportion to the noise of each slice."""

import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.restoration import denoise_tv_chambolle, estimate_sigma

SOURCE, TARGET = Path(os.environ["HARNESS_INPUT"]), Path(os.environ["HARNESS_OUTPUT"])
WEIGHT = 1.5  # times the noise's standard deviation


def denoise(name):
    noisy = np.asarray(Image.open(SOURCE / name), dtype=np.float32) / 255
    clean = denoise_tv_chambolle(noisy, weight=WEIGHT * estimate_sigma(noisy))
    Image.fromarray(np.uint8((255 * np.clip(clean, 0, 1)).round())).save(TARGET / name)


if __name__ == "__main__":
    names = [case["file"] for case in json.loads((SOURCE / "manifest.json").read_text())["cases"]]
    with ProcessPoolExecutor(int(os.environ["OMP_NUM_THREADS"])) as pool:
        list(pool.map(denoise, names))
