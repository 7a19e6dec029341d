from __future__ import annotations

import numpy as np
import pytest

from harness.observer import cut_rois
from harness.observer.detection import Outputs, Verdict, detect, joined, observe, rounding_variance, verdict
from harness.observer.eye import detectability as by_eye
from harness.observer.hotelling import detectability, exact_bounds
from harness.statistics import Difference, interval, paired_difference
from tests.observer.images import gaussian

HALF = 12


def seen(seed: int, *, contrast: float, kept: float = 1.0) -> tuple[Outputs, Outputs, list[str]]:
    """Outputs of images of 8 patients with 15 sites each, of which a denoiser keeps this share of the lesion."""
    rng = np.random.default_rng(seed)
    places = [(HALF + 25 * row, HALF + 25 * column) for row in range(3) for column in range(5)]
    classes: list[list[Outputs]] = [[], []]
    patients: list[str] = []
    for patient in range(8):
        pixel_mm = 0.6 + 0.05 * patient
        for outputs, amount in zip(classes, (0.0, contrast * kept), strict=True):
            image = rng.normal(100, 10, (75, 125))
            for row, column in places:
                square = slice(row - HALF, row + HALF + 1), slice(column - HALF, column + HALF + 1)
                image[square] += amount * gaussian(2 * HALF + 1, width=6 / pixel_mm)
            outputs.append(observe(cut_rois(image, places, half=HALF), diameter_mm=3, pixel_mm=pixel_mm))
        patients += [f"p{patient}"] * len(places)
    return joined(classes[0]), joined(classes[1]), patients


def test_both_observers_are_measured_at_the_same_sites() -> None:
    absent, present, patients = seen(1, contrast=4)
    found = detect(absent, present, patients)
    assert found.hotelling.n == found.eye.n == len(patients) == 120
    assert set(found.hotelling.without) == set(found.eye.without) == {f"p{patient}" for patient in range(8)}
    assert found.hotelling.value == detectability(absent.hotelling, present.hotelling)
    assert found.eye.value == by_eye(absent.eye, present.eye, patients)
    assert found.exact == exact_bounds(absent.hotelling, present.hotelling)
    others = np.array(patients) != "p3"
    assert found.hotelling.without["p3"] == detectability(absent.hotelling[others], present.hotelling[others])
    bounds = interval(found.hotelling)
    assert bounds.low is not None
    assert 0 < bounds.low < found.hotelling.value


@pytest.mark.parametrize(("kept", "said"), [(0.4, "loses lesions"), (1.0, "no difference seen")])
def test_what_a_denoiser_does_to_lesions_is_said_in_words(kept: float, said: Verdict) -> None:
    whole = detect(*seen(2, contrast=5))
    output = detect(*seen(2, contrast=5, kept=kept))
    assert verdict(paired_difference(output.hotelling, whole.hotelling)) == said
    assert verdict(paired_difference(output.eye, whole.eye)) == said
    if kept < 1:
        assert verdict(paired_difference(whole.hotelling, output.hotelling)) == "shows lesions better"


def test_without_an_interval_nothing_is_claimed() -> None:
    assert verdict(Difference(value=-1.0, low=None, high=None, n=20, p=None)) == "no difference seen"


def test_rounding_gives_channel_outputs_the_variance_that_is_said() -> None:
    """Grey levels plus a share of one, rounded: what is off is even between -1/2 and 1/2."""
    rng = np.random.default_rng(3)
    smooth = rng.uniform(50, 60, (2000, 25, 25))
    off = observe(np.rint(smooth) - smooth, diameter_mm=3, pixel_mm=0.7).hotelling
    np.testing.assert_allclose(off.var(axis=0), rounding_variance(0.7), rtol=0.15)
    assert rounding_variance([0.6, 0.8]) == pytest.approx((0.36 + 0.64) / 24)
