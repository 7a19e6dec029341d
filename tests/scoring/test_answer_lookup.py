from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.base.slices import read_grey, write_grey
from harness.dataset.cases import Case
from harness.imaging.regions import Code
from harness.scoring.answer_lookup import LOOKED_UP_SHARE, LookedUp, equal_share, find_looked_up

Image = NDArray[np.uint8]
SHAPE = (40, 50)
SLICES = 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four slices of their own noisy input, label and truth, with a body in the middle."""
    rng = np.random.default_rng(5)
    codes = np.full(SHAPE, Code.AIR, np.uint8)
    codes[5:35, 10:40] = Code.BODY
    codes[10:30, 15:35] = Code.LUNG
    for number in range(SLICES):
        write_grey(tmp_path / "regions" / f"s{number}.png", codes)
        for kind in ("lq", "label", "truth"):
            write_grey(tmp_path / kind / f"s{number}.png", rng.integers(0, 256, SHAPE).astype(np.uint8))
    return tmp_path


@pytest.fixture
def found(folder: Path) -> Callable[..., LookedUp]:
    def paths(kind: str) -> list[Path]:
        return [folder / kind / f"s{number}.png" for number in range(SLICES)]

    def found(produced: list[Path], **kinds: str) -> LookedUp:
        lq = paths(kinds.get("lq", "lq"))
        cases = [Case(name=path.stem, patient="p", lq=str(path), gt="") for path in lq]
        return find_looked_up(cases, produced, {"label": paths("label"), "truth": paths("truth")}, paths("regions"))

    return found


def spoilt(folder: Path, kind: str, share: float) -> Path:
    """An answer in which that share of the body's 900 pixels is one grey off."""
    image = read_grey(folder / kind / "s0.png")
    body = image[5:35, 10:40]
    off = np.arange(900).reshape(30, 30) < round(900 * share)
    body[off] ^= 1
    path = folder / f"{kind}-{share}" / "s0.png"
    write_grey(path, image)
    return path


def test_outputs_of_its_own_are_not_flagged(folder: Path, found: Callable[..., LookedUp]) -> None:
    write_grey(folder / "own" / "s.png", np.full(SHAPE, 7, np.uint8))
    assert found([folder / "own" / "s.png"] * SLICES) == ((), ())


def test_looked_up_answers_are_counted_and_named(folder: Path, found: Callable[..., LookedUp]) -> None:
    own = folder / "own" / "s.png"
    write_grey(own, np.full(SHAPE, 7, np.uint8))
    produced = [folder / "label" / "s0.png", folder / "label" / "s1.png", folder / "truth" / "s2.png", own]
    assert found(produced).flags == (
        "2 of 4 outputs are bit-equal to the label",
        "1 of 4 outputs are bit-equal to the truth",
    )


@pytest.mark.parametrize("kind", ["label", "truth"])
def test_an_answer_with_pixels_changed_is_flagged_up_to_the_threshold(
    folder: Path, found: Callable[..., LookedUp], kind: str
) -> None:
    own = folder / "own" / "s.png"
    write_grey(own, np.full(SHAPE, 7, np.uint8))
    below, above = (spoilt(folder, kind, 1 - LOOKED_UP_SHARE + step) for step in (0.01, -0.01))
    assert found([below, own, own, own]).flags == ()
    said = f"1 of 4 outputs equal the {kind} in 75% or more of the body's pixels"
    assert found([above, own, own, own]).flags == (said,)


def test_the_noisy_input_is_said_and_no_flag(folder: Path, found: Callable[..., LookedUp]) -> None:
    assert found([folder / "lq" / f"s{number}.png" for number in range(SLICES)]) == (
        (),
        ("4 of 4 outputs are bit-equal to the noisy input",),
    )


def test_an_answer_that_the_input_shows_is_no_secret(folder: Path, found: Callable[..., LookedUp]) -> None:
    """Data whose low-dose slices are the labels: who hands the input on has looked nothing up."""
    copies = found([folder / "label" / f"s{number}.png" for number in range(SLICES)], lq="label")
    assert copies == ((), ("4 of 4 outputs are bit-equal to the noisy input",))


def test_only_the_body_counts() -> None:
    """Air is one grey in the output of any denoiser that is worth anything, and in the truth."""
    image, answer = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    inside = np.zeros(SHAPE, np.bool_)
    inside[10:20, 10:20] = True
    answer[inside] = 9
    assert equal_share(image, answer, inside) == 0
    assert equal_share(image, answer, ~inside) == 1
    assert equal_share(image, answer, np.zeros(SHAPE, np.bool_)) == 0
