"""Build contexts and image archives that are not what they should be."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.engines import BASE_IMAGE
from tests.containers.world import MARK, World, client_of

START = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n"


# -------------------------------------------------------------------------------- build contexts
def with_link(folder: Path, world: World) -> None:
    (folder / "link").symlink_to(world.dataset.cases[0].gt)


def with_big_file(folder: Path, _world: World) -> None:
    with (folder / "big").open("wb") as file:
        file.truncate(9 * 10**6)


def with_large_file(folder: Path, _world: World) -> None:
    (folder / "large").write_bytes(bytes(7_000_000))


def with_slow_patterns(folder: Path, _world: World) -> None:
    (folder / ".dockerignore").write_text("**/a**/a**/a**/a**/b\n")


def with_linked_dockerfile(folder: Path, _world: World) -> None:
    (folder / "Dockerfile").unlink()
    (folder / "Dockerfile").symlink_to("/etc/passwd")


# -------------------------------------------------------------------------------- archives
Files = dict[str, Any]  # name in the archive -> its bytes, or the target of a link


def _saved(world: World) -> tuple[dict[str, Any], bytes]:
    """Configuration and layer of a small image, as the engine itself saves it."""
    context = world.folder / "small"
    context.mkdir()
    dockerfile = f'FROM scratch\nLABEL {MARK}={world.mark}\nCOPY Dockerfile /\nCMD ["/nothing/there"]\n'
    (context / "Dockerfile").write_text(dockerfile)
    image = world.engine.build(context)
    archive = io.BytesIO(b"".join(client_of(world.engine).get_image(image)))
    world.clear()
    with tarfile.open(fileobj=archive) as tar:

        def content(name: str) -> bytes:
            file = tar.extractfile(name)
            assert file is not None
            return file.read()

        (entry,) = json.loads(content("manifest.json"))
        return json.loads(content(entry["Config"])), content(entry["Layers"][0])


def _file(name: str, size: int, *, sparse: bool = False) -> bytes:
    """A layer with one file: of zeros, or of nothing but a hole."""
    member = tarfile.TarInfo(name)
    if not sparse:
        member.size = size
        return member.tobuf() + bytes(size + -size % 512 + 1024)
    # GNU's old format: one piece of data of no bytes, the whole size beside it
    member.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"%011o\0%011o\0" % (0, 0)
    header[483:495] = b"\x80" + size.to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


def _change(change: Callable[[dict[str, Any]], object]) -> Callable[[World], Files]:
    """An archive whose configuration was changed."""

    def files(world: World) -> Files:
        config, layer = _saved(world)
        change(config)
        return {"c.json": json.dumps(config).encode(), "l.tar": layer}

    return files


def _layer(data: bytes | str) -> Callable[[World], Files]:
    """An archive with another layer, or a link in its place."""

    def files(world: World) -> Files:
        return {"c.json": json.dumps(_saved(world)[0]).encode(), "l.tar": data}

    return files


ARCHIVES: dict[str, Callable[[World], Files]] = {
    "text_archive": lambda _: {},
    "truncated_archive": _change(lambda _: None),
    "compressed_archive": _change(lambda _: None),
    "two_images": _change(lambda _: None),
    "no_layer": lambda world: {"c.json": json.dumps(_saved(world)[0]).encode()},
    "endless_link": _layer("l.tar"),
    "other_layer": _layer(_file("evil", 100)),
    "layer_with_holes": _layer(_file("evil", 2**40, sparse=True)),
    "oversize_layer": _layer(gzip.compress(_file("evil", 3 * 10**6))),
    "foreign_platform": _change(lambda config: config.update(architecture="vax")),
    "no_entry_point": _change(lambda config: config["config"].pop("Cmd")),
    "archive_volume": _change(lambda config: config["config"].update(Volumes={"/sys/x": {}})),
    "wrong_types": _change(lambda config: config["config"].update(Cmd="/nothing/there", Volumes=[7])),
    "tag_clobber": _change(lambda _: None),
}


def write_archive(path: Path, name: str, world: World) -> None:
    """Write the archive of a case."""
    files = ARCHIVES[name](world)
    entry = {"Config": "c.json", "RepoTags": [BASE_IMAGE], "Layers": ["l.tar"]}
    files = {"manifest.json": json.dumps([entry] * (2 if name == "two_images" else 1)).encode(), **files}
    with tarfile.open(path, "w:gz" if name == "compressed_archive" else "w") as tar:
        for member, content in files.items():
            info = tarfile.TarInfo(member)
            if isinstance(content, str):
                info.type, info.linkname, content = tarfile.SYMTYPE, content, b""
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    if name == "text_archive":
        path.write_text("not a tar")
    if name == "truncated_archive":
        path.write_bytes(path.read_bytes()[: path.read_bytes().rindex(b"l.tar\0") + 512 + 100])
