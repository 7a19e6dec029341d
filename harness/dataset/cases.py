"""Cases: the slices of a test set, as a run may know them and as scoring knows them."""

from __future__ import annotations

import msgspec

from harness.base.digests import digest_bytes
from harness.base.errors import UsageError
from harness.base.structs import Strict
from harness.base.text import first_few


class NoisySlice(Strict, frozen=True, kw_only=True):
    """What a run may know of one slice: `lq` leads to an 8-bit grey PNG, whose pixels are `pixel_mm` wide."""

    name: str
    lq: str
    pixel_mm: float | None = None


class Case(NoisySlice, frozen=True, kw_only=True):
    """One slice of a test set; the paths lead to 8-bit grey PNGs of one size.

    `truth` is the noise-free reference aligned with `lq`, `aligned_gt` another normal-dose scan aligned with it, and
    `regions` the label map of the low-dose slice (codes of `harness.imaging.regions`); only the phantom has them.
    """

    patient: str
    gt: str
    truth: str | None = None
    aligned_gt: str | None = None
    regions: str | None = None


class Inputs(Strict, frozen=True, kw_only=True):
    """The noisy slices of a test set, which are all that a run needs of it: a machine that runs strangers' containers
    need hold no answer. `window_hu` is the HU of grey 0 and of grey 255.

    `digest` is the whole test set's. `names_key` keys the names that containers see where the protocol has a secret;
    else they are keyed by the installation.
    """

    cases: tuple[NoisySlice, ...]
    window_hu: tuple[float, float] | None
    digest: str
    names_key: bytes | None = None


class Dataset(Inputs, frozen=True, kw_only=True):
    """A checked test set. `digest` covers names, patients, the pixels of every image, window and pixel sizes.

    `people` holds, for patients that are known beyond a name (the phantom's), a digest of what makes them by name.
    """

    cases: tuple[Case, ...]
    people: dict[str, str] = msgspec.field(default_factory=dict)


def first_cases(dataset: Dataset, count: int) -> Dataset:
    """The first `count` slices of a set, as a set of its own (for a check, not for scores)."""
    digest = digest_bytes(dataset.digest.encode(), str(count).encode())
    return msgspec.structs.replace(dataset, cases=dataset.cases[:count], digest=digest)


def refuse_slices(offenders: list[str], problem: str, fix: str = "mend or remove them") -> None:
    """UsageError that names the slices that have a problem; nothing where there are none."""
    if offenders:
        raise UsageError("\n  ".join([f"{len(offenders)} slices {problem}:", *first_few(offenders)]), fix=fix)
