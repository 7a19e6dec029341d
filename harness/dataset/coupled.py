"""Coupled slices: each noisy slice with noise added and with the same noise taken away, made once and kept.

From them the error of a denoiser follows without truth and without label (`harness.imaging.coupled`). Whoever knows the
noise can make that error as small as he likes, so its key must be out of a container's reach:

* A phantom's follows from its seed. Where that is secret, so is the noise. Where it is public, anybody can regenerate
  the noisy slice itself and subtract it: a secret key would protect nothing, and cost that machines agree.
* A folder's follows from the installation's secret (`harness.base.private_files`), a commitment to which is part of the
  set's digest.
"""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.base.code_digest import digest_code
from harness.base.digests import digest_json
from harness.base.errors import UsageError
from harness.base.files import cache_root
from harness.base.private_files import installation_secret
from harness.base.progress import Progress
from harness.base.slice_cache import Refused, keep_slice, make_slices, slice_path
from harness.base.slices import read_grey, read_image
from harness.base.structs import Strict
from harness.dataset.cases import Case, Dataset, FurtherSlice, refuse_slices
from harness.imaging.coupled import couple
from harness.imaging.draws import generator
from harness.protocol import Coupled, PhantomData, Protocol
from harness.protocol.data import Data

KINDS: tuple[Literal["plus"], Literal["minus"]] = ("plus", "minus")
NOISE = "noise"  # the noise in HU, float32, as the bytes of a grey image: lossless, and kept like one
_FLOAT = np.dtype("<f4")


class Split(Strict, frozen=True, kw_only=True):
    """What is known of a coupled slice: nothing but that its images lie there."""


def with_coupled(dataset: Dataset, protocol: Protocol, data: Data, progress: Progress | None) -> Dataset:
    """A test set and, of each case, the further slices `<case>-plus` and `<case>-minus`, from the cache or made there;
    the set as it is where the protocol has no `coupled`.

    `data` is the protocol's, a secret seed filled in. The digest is then that of `coupled_digest`. UsageError where a
    case has such a name already, or a slice does not allow it (`couple`).
    """
    coupled = protocol.coupled
    if coupled is None:
        return dataset
    _refuse_clashes(dataset)
    digest = coupled_digest(dataset.digest, protocol)
    key = digest_json({"set": digest, "code": digest_code("harness.imaging.coupled")})
    folder = cache_root() / "data" / f"coupled-{key[:20]}"
    secret = _secret(data)
    tasks = {
        case.name: (case, dataset.scale_hu, coupled, _seed(secret, case, dataset.pixels[case.name]["lq"]))
        for case in dataset.cases
    }
    _, refused = make_slices(folder, tasks, _split, Split, progress=progress)
    lq = {case.name: case.lq for case in dataset.cases}
    refuse_slices(
        [f"{lq[name]}: {reason}" for name, reason in refused.items()],
        "do not allow the protocol's `coupled`",
        fix="correct data.window_hu and data.pixel_mm, state `calibrate: false` if the scanner is known exactly, or "
        "remove these slices",
    )
    further = tuple(
        FurtherSlice(
            name=f"{case.name}-{kind}",
            lq=str(folder / slice_path(kind, case.name)),
            pixel_mm=case.pixel_mm,
            of=case.name,
            kind=kind,
        )
        for kind in KINDS
        for case in dataset.cases
    )
    return msgspec.structs.replace(
        dataset,
        further=(*dataset.further, *further),
        digest=digest,
        coupled_noise={case.name: str(folder / slice_path(NOISE, case.name)) for case in dataset.cases},
    )


def coupled_digest(digest: str, protocol: Protocol) -> str:
    """The digest of a protocol's test set, from that of the set without coupled slices; the same without `coupled`.

    A phantom's follows from that and `coupled`. A folder's covers a commitment to the installation's secret, too: where
    that is another one, so is the noise.
    """
    if protocol.coupled is None:
        return digest
    own = not isinstance(protocol.data, PhantomData)
    commitment = hmac.digest(_secret(protocol.data), b"commitment", "sha256").hex() if own else None
    return digest_json({"set": digest, "coupled": protocol.coupled, "key": commitment})


def read_noise(path: Path) -> NDArray[np.float32]:
    """The noise z of a case in HU, float32 (height, width); `path` is that of `Dataset.coupled_noise`."""
    return np.ascontiguousarray(read_grey(path)).view(_FLOAT).astype(np.float32)


def _secret(data: Data) -> bytes:
    purpose = b"harness coupled noise, 1"
    if not isinstance(data, PhantomData):
        return hmac.digest(installation_secret(), purpose, "sha256")
    assert isinstance(data.seed, int), "load_data replaces a commitment with its secret seed"
    return hmac.digest(str(data.seed).encode(), purpose, "sha256")


def _seed(secret: bytes, case: Case, pixels: str) -> int:
    """The number that decides a slice's noise: 256 bits from the secret, the slice's name and its pixels."""
    return int.from_bytes(hmac.digest(secret, f"{case.name}\0{pixels}".encode(), "sha256"), "big")


def _refuse_clashes(dataset: Dataset) -> None:
    there = {case.name: case.lq for case in dataset.shown}
    for case in dataset.cases:
        for kind in KINDS:
            clash = there.get(f"{case.name}-{kind}")
            if clash is not None:
                raise UsageError(
                    f"{clash}: has the name that the protocol's `coupled` gives to a further slice of {case.lq}",
                    fix=f"rename one of the two, so that no slice is called {case.name}-{kind}",
                )


def _split(case: Case, window_hu: tuple[float, float], coupled: Coupled, seed: int, folder: str) -> Split | Refused:
    """Make and keep the two inputs of a slice and the noise between them."""
    assert case.pixel_mm is not None, "the protocol was refused"
    scanner = msgspec.structs.replace(coupled.scanner, photons=coupled.scanner.photons * coupled.dose)
    try:
        made = couple(
            read_image(Path(case.lq)),
            window_hu=window_hu,
            pixel_mm=case.pixel_mm,
            scanner=scanner,
            rng=generator(seed),
            calibrate=coupled.calibrate,
            step=coupled.strength,
        )
    except ValueError as error:
        return Refused(reason=str(error))
    noise = np.ascontiguousarray(made.noise, dtype=_FLOAT).view(np.uint8)
    return keep_slice(Path(folder), case.name, {"plus": made.inputs[0], "minus": made.inputs[1], NOISE: noise}, Split())
