"""Gates on a lung made by hand, whose measures are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage as ndi

from harness.labels.acceptance_gates import ACCEPTANCE_GATES, gate_values, mean_frequency

Image = NDArray[np.uint8]
SIZE = 192
LUNG = np.zeros((SIZE, SIZE), bool)
LUNG[8:-8, 8:-8] = True


def _grey(values: NDArray[np.floating]) -> Image:
    grey: Image = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return grey


def _noise(seed: int, *, std: float) -> NDArray[np.float64]:
    noise = ndi.gaussian_filter(np.random.default_rng(seed).standard_normal((SIZE, SIZE)), 0.7)
    return np.asarray(noise / noise.std() * std)


def _truth() -> NDArray[np.float64]:
    """Parenchyma at 60 with round vessels of 4 pixels' radius, 80 grey levels above it."""
    truth = np.full((SIZE, SIZE), 60.0)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for row in range(24, SIZE - 16, 32):
        for column in range(24, SIZE - 16, 32):
            truth[np.hypot(rows - row, columns - column) <= 4] += 80
    return truth


TRUTH, NOISE = _truth(), _noise(1, std=12)
LOW, NORMAL = _grey(TRUTH + NOISE), _grey(TRUTH + _noise(2, std=2))


def _measured(label: NDArray[np.floating], *, truth: bool = True) -> dict[str, float | None]:
    return gate_values(
        _grey(label), low=LOW, normal=NORMAL, truth=_grey(TRUTH) if truth else None, lung=LUNG, normal_lung=LUNG
    )


def _within(values: dict[str, float | None]) -> set[str]:
    return {
        name
        for name, value in values.items()
        if value is not None and ACCEPTANCE_GATES[name].low <= value <= ACCEPTANCE_GATES[name].high
    }


def test_half_the_noise_passes_every_gate() -> None:
    found = _measured(TRUTH + NOISE / 2)
    assert _within(found) == set(ACCEPTANCE_GATES)
    # by construction; rounding to grey levels adds 1/12 to the variances, and the noise is 12 strong. The mean of half
    # of it over 25 000 pixels, correlated over 4 pi 0.7^2 = 6 of them, is 0.1 in standard deviation
    assert found["noise cut"] == pytest.approx(0.5, abs=0.01)
    assert found["noise / normal dose"] == pytest.approx(6 / 2, rel=0.1)
    assert found["bias"] == pytest.approx(0, abs=0.3)
    assert found["vessel contrast"] == pytest.approx(1, abs=0.01)
    assert found["residual NPS"] == pytest.approx(1, abs=0.02)


def test_the_truth_itself_fails_only_for_what_it_lacks() -> None:
    # a noise-free label is cleaner than a normal-dose slice, which the two noise gates forbid by definition
    found = _measured(TRUTH)
    assert set(ACCEPTANCE_GATES) - _within(found) == {"noise cut", "noise / normal dose"}
    assert found["noise cut"] == 1
    assert found["bias"] == 0
    assert found["residual NPS"] == 1


def test_the_noisy_input_cuts_nothing() -> None:
    found = _measured(LOW.astype(float))
    assert found["noise cut"] == pytest.approx(0)
    assert found["residual NPS"] is None  # nothing was taken away


def test_blur_takes_vessels_with_it() -> None:
    found = _measured(ndi.gaussian_filter(TRUTH + NOISE, 1.5))
    assert not {"vessel contrast", "structure in residual"} & _within(found)
    assert found["vessel contrast"] is not None
    assert found["vessel contrast"] < 0.95
    assert found["structure in residual"] is not None
    assert found["structure in residual"] > 0.1  # what was taken away looks like vessels


def test_an_added_grey_level_is_the_bias() -> None:
    before, after = (_measured(TRUTH + NOISE / 2 + added)["bias"] for added in (0, 2))
    assert before is not None
    assert after == pytest.approx(before + 2, abs=0.01)


def test_without_truth_the_noise_gates_remain() -> None:
    found = _measured(TRUTH + NOISE / 2, truth=False)
    assert {name for name, value in found.items() if value is None} == {
        n for n, b in ACCEPTANCE_GATES.items() if b.needs_truth
    }
    assert found["noise cut"] == pytest.approx(0.5, abs=0.03)


def test_too_little_lung_is_no_measure() -> None:
    nothing = np.zeros_like(LUNG)
    found = gate_values(LOW, low=LOW, normal=NORMAL, truth=_grey(TRUTH), lung=nothing, normal_lung=LUNG)
    assert set(found.values()) == {None}


@pytest.mark.parametrize("size", [64, 65])
def test_mean_frequency_of_a_wave(size: int) -> None:
    wave = np.cos(2 * np.pi * 8 * np.arange(size) / size) * np.ones((size, 1))
    assert mean_frequency(wave, np.ones((size, size), bool)) == pytest.approx(8 / size)
