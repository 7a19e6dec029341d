"""An official test set as one file, so that any machine can rank, whatever bytes it makes itself.

The file is a tar archive (ustar, not compressed): `slices.json`, the digests as they lie beside the protocol, then
`<kind>/<slice>.png` of every image, `labels/<slice>.png` and, where the set has lesions, `sites/<slice>.json`. A file
may come from a stranger. What is in it counts for nothing: expected are the members that the protocol's digests name,
in their order, and pixels that have these digests.
"""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.base.digests import digest_pixels
from harness.base.errors import UsageError
from harness.base.files import atomic_file, atomic_folder, refuse_existing, write_bytes
from harness.base.png import Rejected, Slice, read_png
from harness.base.slice_cache import note_slice, slice_path
from harness.base.structs import canonical_json
from harness.base.text import shortened
from harness.dataset.cases import Dataset
from harness.dataset.coupled import coupled_digest
from harness.dataset.from_phantom import slice_digest
from harness.dataset.official import (
    LABELS,
    find_imported,
    images_of,
    imported_folder,
    sites_path,
    stated_dataset,
)
from harness.dataset.secret import disclosed_file
from harness.imaging.lesion import Site
from harness.labels.label_set import LabelSet, labels_digest
from harness.pipeline.official_set import as_text, official_of
from harness.protocol import OfficialSet, OfficialSlice, PhantomData, Protocol, protocol_names, protocol_path

DIGESTS = "slices.json"
MAX_DIGESTS = 4 << 20  # bytes of slices.json, before it is known which protocol's it is
MAX_SITES = 1 << 20  # bytes of the sites of a slice
AGAIN = "get the file again: harness data export writes it"


def refuse_export(protocol: Protocol, path: Path, *, leaderboard: Path) -> OfficialSet:
    """The official test set of a protocol, if it may be written to the new file `path`.

    UsageError if `path` exists or cannot be written, the protocol has no official test set or publishes no images, or
    if its seed is secret and `leaderboard` does not disclose it.
    """
    data, official = _phantom_of(protocol), official_of(protocol)
    if not protocol.publish.images:
        raise UsageError(
            f"protocol {protocol.identity}: publishes no images (publish.images: false)", fix="keep its slices private"
        )
    disclosed = disclosed_file(leaderboard, protocol)
    if not isinstance(data.seed, int) and not disclosed.is_file():
        raise UsageError(
            f"protocol {protocol.identity}: its seed is secret and not disclosed ({disclosed} does not exist), and the "
            "file would show slices and labels",
            fix=f"disclose the secret first: harness secret disclose -p {protocol.name}",
        )
    refuse_existing(path)
    return official


def export_set(protocol: Protocol, dataset: Dataset, labels: LabelSet, path: Path, *, leaderboard: Path) -> None:
    """Write a protocol's official test set to the new file `path`. The same images give the same bytes.

    UsageError if `dataset` and `labels` are not the official ones, or as `refuse_export`.
    """
    official = refuse_export(protocol, path, leaderboard=leaderboard)
    if (dataset.digest, labels.digest) != (official.data, official.labels):
        raise UsageError(
            f"{path}: not written: slices or labels of this machine are not the official ones of {protocol.identity}",
            fix="export them on another machine; harness data check names what differs",
        )
    files = dataset.files()
    with atomic_file(path) as part, tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, DIGESTS, as_text(official).encode())
        for one in official.slices:
            for kind in images_of(one):
                _add(tar, slice_path(kind, one.name), Path(files[one.name][kind]).read_bytes())
            _add(tar, slice_path(LABELS, one.name), labels.path(one.name).read_bytes())
            if one.name in dataset.sites:
                _add(tar, sites_path(one.name), canonical_json(dataset.sites[one.name]))


def protocol_of(path: Path) -> str:
    """The name of the protocol whose test set a file says that it holds. UsageError if it is no such file, or if no
    protocol of that name is known here."""
    with _opened(path) as file:
        name = _stated(path, file).name
    if not protocol_path(name).is_file():
        raise UsageError(
            f"{path}: holds the test set of the protocol {name!r}, which is not known here (known: "
            f"{', '.join(protocol_names())})",
            fix="name the .yaml file of that protocol: -p FILE.yaml",
        )
    return name


def import_set(protocol: Protocol, path: Path) -> Path:
    """Check a file that `export_set` wrote and keep its test set in the cache, where `load_data` and `build_labels`
    take it from; returns the folder. One that is there, undamaged, stays.

    UsageError names the member that is missing, unexpected, no plain PNG of the right size, or has other pixels than
    the protocol's digests say; then nothing is kept.
    """
    data, official = _phantom_of(protocol), official_of(protocol)
    folder = imported_folder(official)
    expected = stated_dataset(official, data, folder)
    if (
        coupled_digest(expected.digest, protocol),
        labels_digest({one.name: (one.label, None) for one in official.slices}),
    ) != (
        official.data,
        official.labels,
    ):
        raise UsageError(
            f"{protocol.identity}.slices.json: the digests of its slices do not give those of data and labels",
            fix="restore the file as harness data digests wrote it",
        )
    with _opened(path) as file, atomic_folder(folder) as part:
        stated = _stated(path, file)
        if stated != official:
            raise _other_set(path, stated, official)
        for one in official.slices:
            with_sites = one.name in expected.sites
            note_slice(part, one.name, _take(path, file, one, part, size=data.size, with_sites=with_sites), one)
        _refuse_more(path, file)
        there = find_imported(official)
        if there is not None and there.damaged:
            shutil.rmtree(folder)
    return folder


def _take(path: Path, file: BinaryIO, one: OfficialSlice, folder: Path, *, size: int, with_sites: bool) -> list[str]:
    """Take the files of one slice from an archive into `folder`; returns their paths in it. UsageError as
    `import_set`."""
    largest = size * size * 101 // 100 + 8192  # bytes of a PNG, compressed or not
    images: dict[str, NDArray[np.uint8]] = {}
    names: list[str] = []
    for kind, digest in (images_of(one) | {LABELS: one.label}).items():
        names.append(slice_path(kind, one.name))
        found = _image(path, names[-1], _read(path, file, names[-1], largest), size=size, digest=digest)
        write_bytes(folder / names[-1], found.png)
        images[kind] = found.pixels
    del images[LABELS]
    sites: tuple[Site, ...] = ()
    if with_sites:
        names.append(sites_path(one.name))
        sites = _sites(path, names[-1], _read(path, file, names[-1], MAX_SITES))
        write_bytes(folder / names[-1], canonical_json(sites))
    if slice_digest(images, sites) != one.images:
        what = f"its images and {names[-1]}" if with_sites else "its images"
        raise UsageError(f"{path}: {one.name}: {what} are not official together, only each image alone", fix=AGAIN)
    return names


def _other_set(path: Path, stated: OfficialSet, official: OfficialSet) -> UsageError:
    """That a file holds another test set than the official one, and what tells the two apart."""
    identity = f"{official.name}-{official.version}"
    if stated.name != official.name:
        fix = f"import it for its own protocol: -p {stated.name}, or the .yaml file of that protocol"
    else:
        fix = f"get the file of {identity}, or use the protocol text that this file is of"
    for what, expected, found in (
        ("the test set", identity, f"{stated.name}-{stated.version}"),
        (f"the test set of {identity}: data digest", official.data, stated.data),
        (f"the test set of {identity}: labels digest", official.labels, stated.labels),
    ):
        if expected != found:
            return UsageError(f"{path}: {DIGESTS}: {what}: expected {expected}, found {found}", fix=fix)
    return UsageError(
        f"{path}: {DIGESTS}: expected what {identity}.slices.json says, found the same data and labels digests with "
        "other digests of slices or recipes",
        fix=AGAIN,
    )


def _image(path: Path, name: str, data: bytes, *, size: int, digest: str) -> Slice:
    """An image of an archive. UsageError if it is no plain PNG of that size, or has another digest."""
    try:
        found = read_png(data, height=size, width=size)
    except Rejected as error:
        raise UsageError(f"{path}: {name}: {error}", fix=AGAIN) from None
    if digest_pixels(found.pixels) != digest:
        raise UsageError(
            f"{path}: {name}: expected pixels with the digest {digest}, found {digest_pixels(found.pixels)}", fix=AGAIN
        )
    return found


def _sites(path: Path, name: str, data: bytes) -> tuple[Site, ...]:
    """The sites of an archive. UsageError if they are none."""
    try:
        return msgspec.json.decode(data, type=tuple[Site, ...])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {name}: {error}", fix=AGAIN) from None


def _phantom_of(protocol: Protocol) -> PhantomData:
    if not isinstance(protocol.data, PhantomData):
        raise UsageError(
            f"protocol {protocol.identity}: its slices are files in a folder, which only their owner may pass on",
            fix="pass on the folder itself; harness data check compares one with the protocol's digests",
        )
    return protocol.data


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file to an archive, without date, owner or anything else of this machine."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    tar.addfile(info, io.BytesIO(content))


def _opened(path: Path) -> BinaryIO:
    if not path.is_file():  # a pipe would be waited for
        found = "something else" if path.exists() else "nothing of that name"
        raise UsageError(
            f"{path}: expected a plain file, found {found}", fix="name a file that harness data export wrote"
        )
    return path.open("rb")


def _stated(path: Path, file: BinaryIO) -> OfficialSet:
    """The digests that an archive begins with, whoever's they are."""
    try:
        return msgspec.json.decode(_read(path, file, DIGESTS, MAX_DIGESTS), type=OfficialSet)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {DIGESTS}: {error}", fix=AGAIN) from None


def _read(path: Path, file: BinaryIO, name: str, most: int) -> bytes:
    """The next member of an archive, which must be the plain file `name` of at most `most` bytes.

    Headers are read one by one: the extensions that tarfile follows by itself (long names, sparse files) are refused.
    """
    try:
        info = tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "backslashreplace")
    except tarfile.HeaderError as error:
        raise UsageError(f"{path}: expected {name}, found no member of a tar archive ({error})", fix=AGAIN) from None
    if info.name != name or info.type != tarfile.REGTYPE:
        kind = "" if info.type == tarfile.REGTYPE else f" (type {info.type!r}, no plain file)"
        raise UsageError(f"{path}: expected {name}, found {shortened(ascii(info.name), 200)}{kind}", fix=AGAIN)
    if not 0 <= info.size <= most:
        raise UsageError(f"{path}: {name}: expected at most {most} bytes, found {info.size}", fix=AGAIN)
    content = file.read(info.size)
    if len(content) < info.size:
        raise UsageError(f"{path}: {name}: truncated: expected {info.size} bytes, found {len(content)}", fix=AGAIN)
    file.read(-info.size % tarfile.BLOCKSIZE)
    return content


def _refuse_more(path: Path, file: BinaryIO) -> None:
    """UsageError unless nothing follows but the zeros that end a tar archive."""
    rest = file.read(tarfile.RECORDSIZE + 1)
    if len(rest) > tarfile.RECORDSIZE or rest.strip(b"\0"):
        raise UsageError(f"{path}: expected the end of the archive, found more", fix=AGAIN)
