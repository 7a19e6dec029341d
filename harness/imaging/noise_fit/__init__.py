"""Adaptive noise: the scanner whose noise a user's own slices show, so that inserted noise matches theirs."""

from harness.imaging.noise_fit.fit import Fit, Match, fit_scanner, training_dose

__all__ = ["Fit", "Match", "fit_scanner", "training_dose"]
