"""A starting point: read every noisy slice, denoise it, write it under the same name.

What this program finds when the harness runs it:

    $HARNESS_INPUT      (read-only)  <case>.png, 8-bit grey, one per slice; and manifest.json:
                        {"cases": [{"name", "file", "height", "width", "pixel_mm": mm or null}, ...],
                         "window_hu": [HU of grey 0, HU of grey 255] or null}
    $HARNESS_OUTPUT     (empty)      write exactly one <case>.png per case: same size, 8-bit, one channel, 0 to 255
    /opt/ml/model       (read-only)  the files that submission.yaml declares under `weights`, if any
    /tmp                             scratch space; nothing else is writable
    $HARNESS_DEVICE                  cpu or cuda
    $HARNESS_SEED                    seed your random numbers with it
    $OMP_NUM_THREADS                 how many cores you may use

There is no network and no root. End with exit status 0; with 69 to say "I need a GPU"; anything else is a failure,
and the last line on stderr becomes its message.
"""

import json
import os
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

source, target = Path(os.environ["HARNESS_INPUT"]), Path(os.environ["HARNESS_OUTPUT"])
manifest = json.loads((source / "manifest.json").read_text())

for case in manifest["cases"]:
    noisy = np.asarray(Image.open(source / case["file"]), dtype=np.float32)  # (height, width), 0 to 255

    clean = gaussian_filter(noisy, sigma=1.0)  # <- your model here

    Image.fromarray(np.uint8(np.clip(clean, 0, 255).round())).save(target / case["file"])
