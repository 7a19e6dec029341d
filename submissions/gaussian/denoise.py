"""Gaussian blur of 0.8 pixels."""

import json
import os
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

SOURCE, TARGET = Path(os.environ["HARNESS_INPUT"]), Path(os.environ["HARNESS_OUTPUT"])

for case in json.loads((SOURCE / "manifest.json").read_text())["cases"]:
    noisy = np.asarray(Image.open(SOURCE / case["file"]), dtype=np.float32)
    clean = gaussian_filter(noisy, sigma=0.8)
    Image.fromarray(np.uint8(np.clip(clean, 0, 255).round())).save(TARGET / case["file"])
