"""Total variation (Rudin, Osher & Fatemi 1992) by Chambolle's projection (J Math Imaging Vis 20 (2004))."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.restoration import denoise_tv_chambolle

from harness.imaging.noise_level import noise_level

STRENGTH = 0.5


def denoise(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Denoise a slice (uint8, height x width) with the weight 0.5 sigma.

    `sigma` is `noise_level`, measured over the whole body. 0.5 cuts as much noise as the middle of what a label is
    allowed (40 to 70 %). Seed 78, 16 slices of 4 patients, 512 x 512, 2 % dose, against the noise-free aligned slice,
    mean and range (`benchmarks/weak_denoisers.py --strengths`):

    | weight / sigma | noise cut | bias, grey | vessel contrast | structure in residual | residual NPS |
    |---|---|---|---|---|---|
    | 0.3 | 37 % (34-39) | 0.39 (-0.1 to 1.2) | 0.937 (0.84-0.98) | 0.166 | 1.185 |
    | 0.4 | 47 % (43-49) | 0.55 ( 0.1 to 1.4) | 0.912 (0.80-0.96) | 0.180 | 1.144 |
    | 0.5 | 55 % (51-58) | 0.73 ( 0.3 to 1.7) | 0.886 (0.76-0.95) | 0.195 | 1.112 |
    | 0.7 | 66 % (48-69) | 1.12 ( 0.1 to 2.2) | 0.837 (0.68-0.93) | 0.223 | 1.075 |

    It flattens vessels and adds to the dark lung at every strength. A slice without noise comes back as it is. One
    thread, no randomness: equal input, equal output.
    """
    return denoise_by(image, strength=STRENGTH)


def denoise_by(image: NDArray[np.uint8], *, strength: float) -> NDArray[np.uint8]:
    """The same with the weight `strength` times the noise level."""
    sigma = noise_level(image)
    if sigma == 0:
        return image.copy()
    smooth = denoise_tv_chambolle(image.astype(np.float64), weight=strength * sigma, eps=1e-4, max_num_iter=200)
    grey: NDArray[np.uint8] = np.clip(np.rint(smooth), 0, 255).astype(np.uint8)
    return grey
