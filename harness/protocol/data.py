"""The slices of a protocol: the embedded phantom, a folder of PNGs, or scans that `harness import` wrote."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from harness.base.structs import Strict
from harness.imaging.lesion import Lesion

Positive = Annotated[int, msgspec.Meta(ge=1)]
Commitment = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]

PHANTOM_WINDOW_HU = (-1024.0, 1200.0)


NARROWEST_HU, MOST_HU = 100.0, 32768.0  # of a window: those for the chest have 350 HU and more; CT has 16 bits


def _check_window(window: tuple[float, float]) -> None:
    if not (-MOST_HU <= window[0] < 0 and window[0] + NARROWEST_HU <= window[1] <= MOST_HU):
        wants = f"the HU of grey 0 (below 0, as air, lung and fat are) and of grey 255 ({NARROWEST_HU:g} above or more)"
        raise ValueError(f"window_hu is {list(window)}, expected {wants}; {MOST_HU:g} at most")


class Lesions(Strict, frozen=True, kw_only=True):
    """Lesions for the model observers: each plane is scanned once more with one at every site, of at most `sites`
    sites, which take the conditions in turn (`harness.phantom.lesions`)."""

    conditions: Annotated[tuple[Lesion, ...], msgspec.Meta(min_length=1)]
    sites: Positive = 20  # of each plane, at most

    def __post_init__(self) -> None:
        if not all(lesion.contrast_hu for lesion in self.conditions):
            raise ValueError("a lesion's contrast_hu is 0: nothing could be seen of it")


class PhantomData(Strict, frozen=True, kw_only=True, tag_field="source", tag="phantom"):
    """The embedded procedural thorax: `patients` x `slices` slices of `size` x `size` pixels from one seed.

    `view` is a field of view: `full` shows the whole patient and table. In the difficult ones the body crosses the
    image border (`tight`), the table reaches both borders (`table-across`), or the table contains a closed air cavity
    (`closed-cavity`); `mixed` gives patients these three in turn. Slices are evenly spaced, except that up to
    `nodule_slices` of each patient's move to the middle of a nodule. A patient with fewer nodules, or with nodules
    close together, gets fewer of these. A `seed` of the form `sha256:...` is the commitment to a secret seed.
    Left out, `window_hu` is [-1024, 1200], which cuts off the noise of air and of the darkest lung at grey 0; a wide
    one such as [-1424, 1200] does not. With `pixels: uint16-hu` slices hold HU and nothing is cut off; the window is
    then that of the grey levels for models, networks and eyes that take 8 bits.

    With `lesions` every slice is scanned once more, with lesions; with `realisations` the middle slice of each patient
    is scanned that often at low dose. All of these scans have noise of their own. Containers denoise them, too.
    """

    patients: Positive
    slices: Positive  # of each patient
    size: Annotated[int, msgspec.Meta(ge=64, le=1024)] = 512  # pixels, height and width
    dose: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.02  # of the low-dose scan, as a share of the normal dose
    view: Literal["full", "tight", "table-across", "closed-cavity", "mixed"] = "full"
    nodule_slices: Annotated[int, msgspec.Meta(ge=0)] = 0  # of each patient, at most
    seed: Annotated[int, msgspec.Meta(ge=0)] | Commitment = 2602
    # Younger than the first records: left out where they say nothing, so that those digest as written.
    window_hu: tuple[float, float] | UnsetType = UNSET  # HU of grey 0 and of grey 255
    lesions: Lesions | UnsetType = UNSET
    realisations: Annotated[int, msgspec.Meta(ge=2)] | UnsetType = UNSET  # low-dose scans of a patient's middle slice
    pixels: Literal["uint16-hu"] | UnsetType = UNSET  # 16 bits instead of 8: HU + 8192, nothing cut off

    def __post_init__(self) -> None:
        if self.nodule_slices > self.slices:
            raise ValueError(f"nodule_slices is {self.nodule_slices}, more than the {self.slices} slices of a patient")
        _check_window(self.window)

    @property
    def window(self) -> tuple[float, float]:
        """HU of grey 0 and of grey 255, also where the protocol does not say."""
        return PHANTOM_WINDOW_HU if self.window_hu is UNSET else self.window_hu

    @property
    def bits(self) -> Literal[8, 16]:
        """Of each pixel."""
        return 8 if self.pixels is UNSET else 16


class FolderData(Strict, frozen=True, kw_only=True, tag_field="source", tag="folder"):
    """Your own slices in the authors' layout: `lq/*.png` and `gt/*.png` with the same names under `path`.

    `path` may contain `${VARIABLES}` of the environment. `patient` is a regular expression, matched at the start of a
    file's name; its first group is the patient. Without it every slice is a patient of its own for the intervals.
    """

    path: str
    window_hu: tuple[float, float] | None = None  # HU of grey 0 and of grey 255; without it errors are in grey levels
    pixel_mm: Annotated[float, msgspec.Meta(gt=0)] | None = None  # width of a pixel in mm
    patient: str | None = None

    def __post_init__(self) -> None:
        if self.window_hu is not None:
            _check_window(self.window_hu)


class ScansData(Strict, frozen=True, kw_only=True, tag_field="source", tag="scans"):
    """Scans in 16-bit HU that `harness import` wrote to `path`, which may contain `${VARIABLES}` of the environment.

    `window_hu` is the HU of grey 0 and of grey 255 of what models, networks and eyes get that take 8 bits. `leave_out`
    names slices or, with `*` and `?`, many: `p003-*` is a patient, `p001-000?` the first 9 slices of another. So one
    import serves a test set and a training set, and planes above and below the lungs stay out.
    """

    path: str
    window_hu: tuple[float, float] = PHANTOM_WINDOW_HU
    leave_out: tuple[str, ...] | UnsetType = UNSET  # names of slices in dataset.json, or patterns

    def __post_init__(self) -> None:
        _check_window(self.window_hu)


Data = PhantomData | FolderData | ScansData
