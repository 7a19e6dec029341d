"""The same slices at 8 and at 16 bits: labels, masks and regions agree as far as grey levels tell."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.base.slices import read_grey, read_image
from harness.dataset.cases import Dataset
from harness.dataset.from_phantom import phantom_slices
from harness.imaging import denoise
from harness.imaging.hounsfield import HU16, grey, hounsfield
from harness.imaging.noise_level import noise_level
from harness.labels.label_set import build_labels
from harness.protocol import PhantomData, Purify

DATA = PhantomData(patients=1, slices=1, size=192, seed=2603)
WINDOW = DATA.window
STEP = (WINDOW[1] - WINDOW[0]) / 255


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        return phantom_slices(DATA, None), phantom_slices(msgspec.structs.replace(DATA, pixels="uint16-hu"), None)


def test_the_phantom_in_hu_is_the_phantom_of_8_bits_with_nothing_cut_off(both: tuple[Dataset, Dataset]) -> None:
    low, high = both
    assert (high.bits, high.window_hu, low.digest == high.digest) == (16, WINDOW, False)
    for kind in ("lq", "gt", "truth", "aligned_gt"):
        of_8, of_16 = (read_image(Path(getattr(one.cases[0], kind))) for one in both)
        # rounding twice may differ from rounding once by a level, where HU lie between two
        assert np.abs(grey(of_16, WINDOW).astype(int) - of_8).max() <= 1
        assert np.mean(grey(of_16, WINDOW) != of_8) < 0.1
    noisy = hounsfield(read_image(Path(high.cases[0].lq)), HU16)
    assert (noisy < -1024).mean() > 0.05
    assert read_grey(Path(str(high.cases[0].regions))).tobytes() == read_grey(Path(str(low.cases[0].regions))).tobytes()


@pytest.mark.parametrize("name", denoise.names())
def test_weak_denoisers_do_the_same_in_hu(both: tuple[Dataset, Dataset], name: str) -> None:
    of_8, of_16 = (read_image(Path(one.cases[0].lq)) for one in both)
    assert noise_level(of_16) == pytest.approx(noise_level(of_8) * STEP, rel=0.05)
    made = [denoise.load(name)(image) for image in (of_8, of_16)]
    assert made[1].dtype == np.uint16
    inside = (of_8 > 60) & (of_8 < 200)  # where noise is cut off at 8 bits they cannot agree
    apart = hounsfield(made[0], WINDOW) - hounsfield(made[1], HU16)
    assert np.sqrt(np.mean(apart[inside] ** 2)) < STEP


@pytest.mark.parametrize("variant", ["published", "corrected"])
def test_labels_in_hu_are_those_of_8_bits(
    both: tuple[Dataset, Dataset], variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    purify = Purify(variant=variant, weak_denoiser="tv")  # type: ignore[arg-type]
    low, high = (build_labels(one, purify) for one in both)
    of_8, of_16 = (read_image(one.path("p01-s01")) for one in (low, high))
    assert of_16.dtype == np.uint16
    normal = read_image(Path(both[1].cases[0].gt))
    same = of_16 == normal
    assert same.mean() > 0.4  # outside the mask the label is the normal-dose slice, to the HU
    apart = hounsfield(of_8, WINDOW) - np.clip(hounsfield(of_16, HU16), *WINDOW)
    assert np.sqrt(np.mean(apart**2)) < 2 * STEP


def test_regions_are_sought_in_hu_too(
    both: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    found = []
    for one in both:
        case = msgspec.structs.replace(one.cases[0], regions=None)
        blind = msgspec.structs.replace(one, cases=(case,), digest=f"{one.digest} blind")
        found.append(build_labels(blind, Purify(weak_denoiser="tv")).regions(case))
    assert np.mean(found[0] != found[1]) < 0.02
