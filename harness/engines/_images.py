"""What goes into an engine: build contexts and image archives, looked at before the engine sees them."""

from __future__ import annotations

import contextlib
import json
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import docker.utils.build

from harness.errors import BuildError

MAX_CONTEXT_BYTES = 4 * 10**9


@contextlib.contextmanager
def build_context(folder: Path) -> Iterator[IO[bytes]]:
    """A build context as a tar: .dockerignore obeyed, .git and byte code left out; owner, mode and time normalised,
    so that a clone made under another umask builds the same image from the engine's cache."""
    ignore = folder / ".dockerignore"
    patterns = ignore.read_text().splitlines() if ignore.is_file() else []
    patterns = [line.strip() for line in patterns if line.strip() and not line.startswith("#")]
    names = docker.utils.build.exclude_paths(str(folder), ["**/.git", "**/__pycache__", *patterns])
    total = 0

    def normalise(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        nonlocal total
        if not (member.isreg() or member.isdir() or member.issym()):
            return None
        total += member.size
        if total > MAX_CONTEXT_BYTES:
            raise BuildError(
                f"{folder}: the build context is larger than {MAX_CONTEXT_BYTES / 1e9:g} GB",
                fix="name what the image does not need in .dockerignore",
            )
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = 0
        member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
        return member

    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for name in sorted(names):
                tar.add(folder / name, name, recursive=False, filter=normalise)
        file.seek(0)
        yield file


def archive_tags(archive: Path) -> list[str]:
    """The tags in a `docker save` archive of exactly one image; BuildError otherwise."""
    fix = "write it with: docker save IMAGE -o image.tar"
    try:
        with tarfile.open(archive) as tar:
            member = tar.getmember("manifest.json")
            if member.size > 2**20:
                raise BuildError(f"{archive}: its manifest.json has {member.size} bytes", fix=fix)
            file = tar.extractfile(member)
            images = json.loads(file.read()) if file is not None else None
        if not isinstance(images, list) or len(images) != 1:
            raise BuildError(f"{archive}: holds more than one image, or none", fix=fix)
        return [str(tag) for tag in images[0].get("RepoTags") or ()]
    except (tarfile.TarError, KeyError, ValueError, AttributeError, EOFError, OSError) as error:
        raise BuildError(f"{archive}: not an image archive: {error}", fix=fix) from error
