"""Residual CNN (after DnCNN, Zhang et al. 2017): five convolutions, 16k parameters, numpy alone.

The weights are those of the weak denoiser `cnn` (harness/imaging/denoise/cnn.json has their recipe).
"""

import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, uniform_filter

SOURCE, TARGET = Path(os.environ["HARNESS_INPUT"]), Path(os.environ["HARNESS_OUTPUT"])
LAYERS = 5
BAND = 64  # rows at a time, so that memory stays small


def read_safetensors(path):
    """Name -> array; the format is the length of a header, the header as JSON, the numbers (little-endian)."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    return {
        name: np.frombuffer(data[start:], np.float32, (end - begin) // 4, begin).reshape(one["shape"])
        for name, one in header.items()
        if name != "__metadata__"
        for begin, end in [one["data_offsets"]]
    }


WEIGHTS = read_safetensors(Path(__file__).with_name("weights.safetensors"))


def noise(image):
    """Standard deviation of what is finer than 2 pixels, from its median absolute deviation, away from clipped air."""
    detail = image - gaussian_filter(image, 2)
    usable = uniform_filter(((image == 0) | (image == 255)).astype(np.float32), 15) < 0.25
    return np.median(np.abs(detail[usable])) / 0.6745 if usable.any() else 0.0


def network(rows):
    """The residual of a band of rows: (height, width) -> LAYERS rows and columns less on each side."""
    values = rows[None]
    for layer in range(LAYERS):
        filters, bias = WEIGHTS[f"{2 * layer}.weight"], WEIGHTS[f"{2 * layer}.bias"]
        windows = np.lib.stride_tricks.sliding_window_view(values, (3, 3), axis=(1, 2))
        values = np.tensordot(filters, windows, axes=([1, 2, 3], [0, 3, 4])) + bias[:, None, None]
        if layer < LAYERS - 1:
            np.maximum(values, 0, out=values)
    return values[0]


def denoise(name):
    noisy = np.asarray(Image.open(SOURCE / name), dtype=np.float32)
    sigma = max(noise(noisy), 1e-3)
    wide = np.pad(noisy, LAYERS, mode="reflect") / sigma
    bands = [wide[top : min(top + BAND, len(noisy)) + 2 * LAYERS] for top in range(0, len(noisy), BAND)]
    clean = noisy - sigma * np.concatenate([network(band) for band in bands])
    Image.fromarray(np.uint8(np.clip(clean, 0, 255).round())).save(TARGET / name)


if __name__ == "__main__":
    names = [case["file"] for case in json.loads((SOURCE / "manifest.json").read_text())["cases"]]
    with ProcessPoolExecutor(int(os.environ["OMP_NUM_THREADS"])) as pool:
        list(pool.map(denoise, names))
