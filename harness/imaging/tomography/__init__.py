"""Computed tomography on arrays: parallel-beam projection and reconstruction in float32, photons and detectors."""

from harness.imaging.tomography.parallel_beam import Kernel, fbp, filter_response, radon
from harness.imaging.tomography.photons import MU_WATER, bowtie, detect, hu_to_mu, mean_log_counts, mu_to_hu

__all__ = [
    "MU_WATER",
    "Kernel",
    "bowtie",
    "detect",
    "fbp",
    "filter_response",
    "hu_to_mu",
    "mean_log_counts",
    "mu_to_hu",
    "radon",
]
