"""Build contexts and image archives: tars that are checked and rewritten before an engine sees them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import docker.utils.build
import msgspec

from harness.base.digests import NOT_COPIED
from harness.base.errors import BuildError, ImagePolicyError
from harness.base.files import folder_content
from harness.base.structs import MAX_YAML_BYTES
from harness.base.text import shortened
from harness.engines._layers import MAX_HEADER_BYTES, Layer, measured, unpacked
from harness.sandbox import MAX_IMAGE_BYTES, BuildPolicy, ImageFacts, Machine, check_image

MAX_LAYERS, MAX_MEMBERS, MAX_JSON_BYTES = 127, 10_000, 4 * 2**20
MAX_PATTERNS = 100  # of .dockerignore; each is compared with each file
MAX_WILDCARDS = 3  # in one pattern of .dockerignore; each can multiply the time that matching takes
MATCHED_WITHIN_S = 60.0  # all files with all patterns: an honest folder takes a second
AGAIN = "make it with docker save IMAGE -o image.tar"


# -------------------------------------------------------------------------------- build contexts
@contextlib.contextmanager
def build_context(folder: Path, *, max_bytes: int, dockerfile: str | None = None) -> Iterator[IO[bytes]]:
    """The build context of a folder as a tar, without what .dockerignore excludes, .git and byte code.

    Owners, modes and times are normalised, so that a clone made under another umask builds the same image from the
    engine's cache. The text `dockerfile` replaces the folder's own Dockerfile. BuildError if the files have more than
    `max_bytes`.
    """
    ignored = docker.utils.build.PatternMatcher([*_ignored(folder), "!Dockerfile"])
    # whatever .dockerignore says: what the digest of the submission leaves out cannot get into its image
    content = folder_content(folder, without=NOT_COPIED)
    names, until = [], time.monotonic() + MATCHED_WITHIN_S
    for name in (path.as_posix() for path in content):
        if time.monotonic() > until:
            raise BuildError(f"{folder}: .dockerignore takes too long to match", fix="use fewer and simpler patterns")
        if not ignored.matches(name):
            names.append(name)
    total = 0

    def normalise(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        nonlocal total
        if not (member.isreg() or member.isdir() or member.issym()):
            return None
        total += member.size
        if total > max_bytes:
            raise BuildError(
                f"{folder}: the build context is larger than {max_bytes / 1e9:g} GB",
                fix="exclude what the image does not need in .dockerignore",
            )
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = 0
        member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
        return member

    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for name in names:
                if dockerfile is None or name != "Dockerfile":
                    tar.add(folder / name, name, recursive=False, filter=normalise)
                    tar.inodes = {}  # type: ignore[attr-defined]  # a second name of a file is a file, as its digest has it
            if dockerfile is not None:
                member = tarfile.TarInfo("Dockerfile")
                member.size = len(dockerfile.encode())
                tar.addfile(member, io.BytesIO(dockerfile.encode()))
        file.seek(0)
        yield file


def _ignored(folder: Path) -> list[str]:
    """The patterns of .dockerignore."""
    path = folder / ".dockerignore"
    if not os.path.lexists(path):
        return []
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_YAML_BYTES:
        raise BuildError(
            f"{path}: must be a regular file of at most {MAX_YAML_BYTES} bytes", fix="replace it by such a file"
        )
    lines = path.read_text(errors="replace").splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if len(patterns) > MAX_PATTERNS:
        raise BuildError(f"{path}: has more than {MAX_PATTERNS} patterns", fix="use fewer, for whole folders")
    for pattern in patterns:
        if len(re.findall(r"\*+", pattern)) > MAX_WILDCARDS:
            raise BuildError(
                f"{path}: {pattern[:60]!r} has more than {MAX_WILDCARDS} wildcards", fix="use a simpler pattern"
            )
    return patterns


# -------------------------------------------------------------------------------- archives
class ImageConfig(msgspec.Struct, frozen=True):
    """What the policy needs to know of an image's configuration; the rest is left to the engine."""

    Entrypoint: list[str] | None = None
    Cmd: list[str] | None = None
    Volumes: dict[str, Any] | None = None
    Env: list[str] | None = None

    def facts(self, *, id: str, os: str, architecture: str, size: int) -> ImageFacts:
        """The facts of an image with this configuration; `size` in bytes, unpacked."""
        return ImageFacts(
            id=id,
            os=os,
            architecture=architecture,
            command=(*(self.Entrypoint or ()), *(self.Cmd or ())),
            volumes=tuple(sorted(self.Volumes or ())),
            environment=tuple(self.Env or ()),
            bytes=size,
        )


class _Layers(msgspec.Struct, frozen=True):
    diff_ids: list[str]


class _Image(msgspec.Struct, frozen=True):
    os: str
    architecture: str
    rootfs: _Layers
    config: ImageConfig | None = None


class _Entry(msgspec.Struct, frozen=True):
    Config: str
    Layers: list[str]


@contextlib.contextmanager
def checked_archive(archive: Path, *, machine: Machine) -> Iterator[tuple[ImageFacts, Iterator[bytes]]]:
    """The facts of the one image in a `docker save` archive, and the bytes of a new archive of it.

    The new one holds the image's configuration and layers and nothing else: no tag that could move, no second image.
    Of each layer it holds the bytes that were unpacked and checked here (`harness.engines._layers`), together at most
    MAX_IMAGE_BYTES. The configuration is checked, too (`harness.sandbox.check_image`).

    BuildError if it is not such an archive, ImagePolicyError for what is not allowed.
    """
    with archive.open("rb") as file:
        try:
            # nothing to close but the file
            tar = tarfile.open(fileobj=file, mode="r:", tarinfo=_Member)  # noqa: SIM115
            members = _members(tar, archive.stat().st_size)
            images = msgspec.json.decode(_small(tar, members, "manifest.json"), type=list[_Entry])
            if len(images) != 1:
                raise BuildError(f"{archive}: holds {len(images)} images, expected one", fix=AGAIN)
            raw = _small(tar, members, images[0].Config)
            image = msgspec.json.decode(raw, type=_Image)
            layers = [_regular(members, name) for name in images[0].Layers]
            if len(layers) != len(image.rootfs.diff_ids) or len(layers) > MAX_LAYERS:
                raise BuildError(
                    f"{archive}: has {len(layers)} layers, expected {len(image.rootfs.diff_ids)}, at most {MAX_LAYERS}",
                    fix=AGAIN,
                )
            read = _measured(tar, layers)
            if [f"sha256:{one.sha256}" for one in read] != image.rootfs.diff_ids:
                raise BuildError(f"{archive}: a layer is not the one that the configuration names", fix=AGAIN)
            facts = (image.config or ImageConfig()).facts(
                id=f"sha256:{hashlib.sha256(raw).hexdigest()}",
                os=image.os,
                architecture=image.architecture,
                size=sum(one.disk_bytes for one in read),
            )
        except (
            tarfile.TarError,
            msgspec.MsgspecError,
            ValueError,
            LookupError,
            EOFError,
            OSError,
            RecursionError,
            zlib.error,
        ) as error:
            raise BuildError(
                f"{archive}: not an image archive (it must be uncompressed and complete): "
                f"{shortened(ascii(str(error)), 300)}",
                fix=AGAIN,
            ) from error
        check_image(facts, machine=machine, device="cpu")
        yield facts, _own_archive(tar, raw, layers, [one.bytes for one in read])


class _Member(tarfile.TarInfo):
    """A member whose long name or PAX records, which are read into memory, are not long."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type not in (*tarfile.REGULAR_TYPES, tarfile.GNUTYPE_SPARSE) and self.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header has {self.size} bytes")
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]


def _members(tar: tarfile.TarFile, size: int) -> dict[str, tarfile.TarInfo]:
    members = {}
    for member in tar:
        members[member.name] = member
        if len(members) > MAX_MEMBERS or member.offset_data + member.size > size:
            raise tarfile.ReadError(f"it is cut off in {member.name!r}, or holds more than {MAX_MEMBERS} files")
    return members


def _regular(members: dict[str, tarfile.TarInfo], name: str) -> tarfile.TarInfo:
    """The file with that name; older engines write a repeated layer as a link to the first."""
    member = members[name]
    if member.issym():
        member = members["/".join(_resolved([*name.split("/")[:-1], *member.linkname.split("/")]))]
    if not member.isreg() or member.issparse():
        raise tarfile.ReadError(f"{name!r} is not a regular file")
    return member


def _resolved(parts: list[str]) -> list[str]:
    path: list[str] = []
    for part in parts:
        if part == "..":
            path = path[:-1]
        elif part not in ("", "."):
            path.append(part)
    return path


def _small(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str) -> bytes:
    member = _regular(members, name)
    if member.size > MAX_JSON_BYTES:
        raise tarfile.ReadError(f"{name!r} has {member.size} bytes")
    return _file(tar, member).read()


def _file(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(member)
    assert file is not None  # a regular file
    return file


def _measured(tar: tarfile.TarFile, layers: list[tarfile.TarInfo]) -> list[Layer]:
    """The layers as they are unpacked: a layer that is named again is read once, and counted again."""
    until = time.monotonic() + BuildPolicy().wall_s
    room = MAX_IMAGE_BYTES
    read: dict[int, Layer] = {}
    for layer in layers:
        if layer.offset not in read:
            read[layer.offset] = measured(_file(tar, layer), room=room, until=until)
        one = read[layer.offset]
        room -= max(one.disk_bytes, one.bytes)
        if room < 0:
            raise ImagePolicyError(
                f"the layers of the image have more than {MAX_IMAGE_BYTES / 1e9:g} GB", fix="name each layer once"
            )
    return [read[layer.offset] for layer in layers]


def _own_archive(
    tar: tarfile.TarFile, config: bytes, layers: list[tarfile.TarInfo], sizes: list[int]
) -> Iterator[bytes]:
    """An archive of the configuration and the unpacked layers, of `sizes` bytes."""
    return _archive(config, [(size, unpacked(_file(tar, layer))) for layer, size in zip(layers, sizes, strict=True)])


def control_archive(machine: Machine) -> Iterator[bytes]:
    """An archive of an empty image that every engine loads which loads any."""
    layer = bytes(2 * 512)
    config = {
        "os": machine.os,
        "architecture": machine.architecture,
        "config": {"Cmd": ["true"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    return _archive(json.dumps(config).encode(), [(len(layer), iter([layer]))])


def _archive(config: bytes, layers: list[tuple[int, Iterator[bytes]]]) -> Iterator[bytes]:
    """An archive of one image; `layers` are tars, each with its bytes."""
    names = [f"{number}.tar" for number in range(len(layers))]
    manifest = json.dumps([{"Config": "config.json", "RepoTags": None, "Layers": names}]).encode()
    for name, data in (("config.json", config), ("manifest.json", manifest)):
        yield _header(name, len(data)) + data + bytes(-len(data) % 512)
    for name, (size, layer) in zip(names, layers, strict=True):
        yield _header(name, size)
        yield from layer
        yield bytes(-size % 512)
    yield bytes(2 * 512)


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf()
