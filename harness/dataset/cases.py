"""Cases: the slices of a test set, as much of them as a run may know, and all that scoring knows."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from harness.base.digests import digest_bytes
from harness.base.errors import UsageError
from harness.base.structs import Strict
from harness.base.text import counted, first_few
from harness.imaging.hounsfield import HU16, hu_per_level
from harness.imaging.lesion import Lesion, Site

KINDS = ("lq", "gt", "truth", "aligned_gt", "regions")
"""The images that a case may have, as the fields of `Case` name them; a phantom's has all of them."""


class Acquisition(Strict, frozen=True, kw_only=True, omit_defaults=True):
    """How a slice was scanned, as far as its source says: mm, kV, mAs, and the name of the reconstruction kernel."""

    thickness_mm: float | None = None
    kvp: float | None = None
    mas: float | None = None
    kernel: str | None = None


class NoisySlice(Strict, frozen=True, kw_only=True):
    """What a run may know of one slice: the path of its noisy image, a grey PNG, its pixel size in mm, and, of a scan,
    how it was acquired.

    `series` names the scan of a patient that it belongs to, and `position_mm` is its place along the patient's axis,
    towards the head. Both are None where the source does not state them; a further slice is where its case is.
    """

    name: str
    lq: str
    pixel_mm: float | None = None
    acquisition: Acquisition | None = None
    series: str | None = None
    position_mm: float | None = None

    @property
    def plane(self) -> str:
        """The name of the case whose anatomy it shows: its own."""
        return self.name


FurtherKind = Literal["lesions", "again", "plus", "minus"]
"""The plane with lesions; another low-dose scan of it; its noisy slice with noise added, and with the same noise
taken away (`harness.imaging.coupled`)."""


class FurtherSlice(NoisySlice, frozen=True, kw_only=True):
    """One more noisy image of the plane of the case `of`. A container never sees two images of one plane in one run.

    `aligned_gt` is the normal-dose scan of what it shows, where there is one that is not the case's own.
    """

    of: str
    kind: FurtherKind
    aligned_gt: str | None = None

    @property
    def plane(self) -> str:
        """The name of the case whose anatomy it shows."""
        return self.of


class Case(NoisySlice, frozen=True, kw_only=True):
    """One slice of a test set; every path names a grey PNG of the same size and, but for `regions`, of the set's bits.

    `lq` is the low-dose slice and `gt` the normal-dose slice. Only the phantom has the others: `truth`, the noise-free
    reference aligned with `lq`; `aligned_gt`, another normal-dose scan, aligned with `lq` as well; and `regions`, the
    region map of `lq`, whose grey levels are `harness.imaging.regions.Code`.
    """

    patient: str
    gt: str
    truth: str | None = None
    aligned_gt: str | None = None
    regions: str | None = None


class Inputs(Strict, frozen=True, kw_only=True):
    """The noisy slices of a test set. A run needs nothing else, so the machine that runs strangers' containers need not
    hold any label.

    Slices have 8 bits, or 16: HU + 8192 (`harness.imaging.hounsfield`). `window_hu` is the HU of grey 0 and of grey
    255: of the slices themselves, or of what is made of those of 16 bits for models, networks and eyes that take 8.

    `further` are more noisy images of the planes of `cases`. `digest` is that of the whole test set. The names that
    containers see are keyed by `names_key` if the protocol has a secret, else by the installation.
    """

    cases: tuple[NoisySlice, ...]
    further: tuple[FurtherSlice, ...] = ()
    window_hu: tuple[float, float] | None
    bits: Literal[8, 16] = 8
    digest: str
    names_key: bytes | None = None

    @property
    def shown(self) -> tuple[NoisySlice, ...]:
        """All that a container denoises."""
        return (*self.cases, *self.further)

    def planes(self) -> dict[str, list[NoisySlice]]:
        """All images of each plane, by the name of the first case that shows it, in the order of the cases.

        Cases of a series at one position, to 0.01 mm, show one plane.
        """
        first: dict[tuple[str, float], str] = {}
        plane_of = {
            case.name: case.name
            if case.series is None or case.position_mm is None
            else first.setdefault((case.series, round(case.position_mm, 2)), case.name)
            for case in self.cases
        }
        planes: dict[str, list[NoisySlice]] = {}
        for one in self.shown:
            planes.setdefault(plane_of[one.plane], []).append(one)
        return planes

    @property
    def scale_hu(self) -> tuple[float, float] | None:
        """The window of the slices themselves: HU of value 0 and of the largest value."""
        return HU16 if self.bits == 16 else self.window_hu

    @property
    def hu_per_level(self) -> float | None:
        """The width in HU of one step of the slices' values; None where the window is unknown."""
        window = self.scale_hu
        return None if window is None else hu_per_level(window, f"uint{self.bits}")


class Dataset(Inputs, frozen=True, kw_only=True):
    """A checked test set. `digest` covers names, patients, the pixels of every image, window and pixel sizes.

    `people` maps the names of the phantom's patients to a digest of what they are generated from; it is empty for
    other data, where nothing but the name identifies a patient.

    `pixels` is the SHA-256 of each image (`digest_pixels`) by slice and kind, as `files` names them; `slices`, for the
    phantom, that of all images of a slice and of its sites, from which `digest` follows. `notes` are lines that the
    user should read: that the set was imported, or how it differs from the protocol's official one.

    `lesions` are the conditions, and `sites` by case where its further slice of the kind `lesions` shows them.
    `coupled_noise` is, by case, the file of the noise between its further slices of the kinds `plus` and `minus`
    (`harness.dataset.coupled.read_noise`).
    """

    cases: tuple[Case, ...]
    people: dict[str, str] = msgspec.field(default_factory=dict)
    pixels: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    slices: dict[str, str] = msgspec.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    lesions: tuple[Lesion, ...] = ()
    sites: dict[str, tuple[Site, ...]] = msgspec.field(default_factory=dict)
    coupled_noise: dict[str, str] = msgspec.field(default_factory=dict)

    def files(self) -> dict[str, dict[str, str]]:
        """The paths of all images by case and kind: the kinds as the fields of `Case` name them, and of a further slice
        `p01-s01-again-1` the kind `again-1`, of the normal-dose scan with lesions `lesions_gt`."""
        found = {
            case.name: {kind: path for kind in KINDS if (path := getattr(case, kind)) is not None}
            for case in self.cases
        }
        for one in self.further:
            kind = one.name.removeprefix(f"{one.of}-")
            found[one.of] |= {kind: one.lq} | ({f"{kind}_gt": one.aligned_gt} if one.aligned_gt is not None else {})
        return found


def first_cases(dataset: Dataset, count: int) -> Dataset:
    """The first `count` cases of a set as a set with a digest of its own, for a check, not for scores."""
    digest = digest_bytes(dataset.digest.encode(), str(count).encode())
    none: dict[str, Any] = {"further": (), "lesions": (), "sites": {}, "coupled_noise": {}}
    return msgspec.structs.replace(dataset, cases=dataset.cases[:count], digest=digest, **none)


_OF_ONE = {"do": "does", "have": "has", "are": "is", "differ": "differs", "show": "shows"}


def refuse_slices(
    offenders: list[str], problem: str, fix: str = "correct or remove them", *, noun: str = "slice"
) -> None:
    """UsageError that says how many slices (or files) have a problem and names the first few; nothing if there are
    none. `problem` begins with the verb, as of several: "do not fit"."""
    if offenders:
        verb, _, rest = problem.partition(" ")
        agreeing = _OF_ONE.get(verb, verb) if len(offenders) == 1 else verb
        said = f"{counted(len(offenders), noun)} {agreeing} {rest}:"
        raise UsageError("\n  ".join([said, *first_few(offenders)]), fix=fix)
