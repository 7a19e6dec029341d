"""Build contexts and image archives that are not what they should be."""

from __future__ import annotations

import bz2
import functools
import gzip
import hashlib
import io
import json
import lzma
import os
import shutil
import tarfile
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.engines import BASE_IMAGE
from harness.engines.docker import DockerEngine
from tests.containers.world import MARK, World, client_of

if TYPE_CHECKING:
    from tests.containers.cases import Case

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


def with_slow_names(folder: Path, _world: World) -> None:
    for number in range(10):
        (folder / f"{'a' * 200}{number}").touch()
    (folder / ".dockerignore").write_text("".join(f"*a*a*ab{number}\n" for number in range(20)))


def with_many_patterns(folder: Path, _world: World) -> None:
    (folder / ".dockerignore").write_text("".join(f"{number}\n" for number in range(101)))


def with_byte_code(folder: Path, _world: World) -> None:
    """What the digest leaves out, asked for by .dockerignore."""
    for path in ("__pycache__/evil.pyc", ".git/evil"):
        (folder / path).parent.mkdir()
        (folder / path).touch()
    (folder / ".dockerignore").write_text("!**/__pycache__\n!**/*.pyc\n!.git/evil\n!.git\n")


def with_fifos(folder: Path, _world: World) -> None:
    """FIFOs, at which a reader waits, wherever one may be asked for."""
    (folder / "Dockerfile").unlink()
    for name in ("Dockerfile", ".dockerignore", "image.tar", "seen.txt"):
        os.mkfifo(folder / name)


def with_fifo_of_patterns(folder: Path, _world: World) -> None:
    os.mkfifo(folder / ".dockerignore")


def with_folder_of_patterns(folder: Path, _world: World) -> None:
    (folder / ".dockerignore").mkdir()


def with_broken_pattern(folder: Path, _world: World) -> None:
    (folder / ".dockerignore").write_text("[\n")


def with_linked_manifest(folder: Path, _world: World) -> None:
    (folder / "submission.yaml").unlink()
    (folder / "submission.yaml").symlink_to("/etc/passwd")


def with_long_paths(folder: Path, _world: World) -> None:
    folder.joinpath(*["d" * 200] * 6).mkdir(parents=True)


def with_name_of_no_text(folder: Path, _world: World) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.txt")).touch()


def with_sparse_file(folder: Path, _world: World) -> None:
    with (folder / "sparse").open("wb") as file:
        file.truncate(200 * 10**9)


def with_many_files(folder: Path, _world: World) -> None:
    for number in range(101):
        os.mknod(folder / str(number))


def with_deep_folders(folder: Path, _world: World) -> None:
    folder.joinpath(*"d" * 40).mkdir(parents=True)


def with_circle(folder: Path, _world: World) -> None:
    (folder / "circle").symlink_to("circle")


def with_git(folder: Path, _world: World) -> None:
    shutil.copytree(folder, folder / ".git")
    (folder / "link").symlink_to(".git")


def with_linked_dockerfile(folder: Path, _world: World) -> None:
    (folder / "Dockerfile").unlink()
    (folder / "Dockerfile").symlink_to("/etc/passwd")


# -------------------------------------------------------------------------------- archives
Files = dict[str, Any]  # name in the archive -> its bytes, or the target of a link
END = bytes(1024)


def _saved(world: World) -> tuple[dict[str, Any], bytes]:
    """Configuration and layer of a small image, as the engine itself saves it, with the mark of this case."""
    saved, layer = _saved_by(world.engine)
    config = json.loads(saved)
    config["config"]["Labels"] = {MARK: world.mark}
    return config, layer


@functools.cache
def _saved_by(engine: DockerEngine) -> tuple[bytes, bytes]:
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory() as folder:
        dockerfile = f'FROM scratch\nLABEL {MARK}={mark}\nCOPY Dockerfile /\nCMD ["/nothing/there"]\n'
        Path(folder, "Dockerfile").write_text(dockerfile)
        image = engine.build(Path(folder))
    archive = io.BytesIO(b"".join(client_of(engine).get_image(image)))
    client_of(engine).remove_image(image)
    with tarfile.open(fileobj=archive) as tar:

        def content(name: str) -> bytes:
            file = tar.extractfile(name)
            assert file is not None
            return file.read()

        (entry,) = json.loads(content("manifest.json"))
        return content(entry["Config"]), content(entry["Layers"][0])


def _member(
    name: str, data: bytes = b"", *, kind: bytes = tarfile.REGTYPE, fields: dict[int, bytes] | None = None
) -> bytes:
    """A member of a tar; `fields` are bytes of its header by their place, the checksum is right for them."""
    info = tarfile.TarInfo(name)
    info.size, info.type = len(data), kind
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    for place, value in (fields or {}).items():
        header[place : place + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data + bytes(-len(data) % 512)


def _records(kind: bytes = tarfile.XHDTYPE, **values: str) -> bytes:
    """A header of PAX records."""
    data = b""
    for key, value in values.items():
        record = f" {key.replace('__', '.')}={value}\n"
        length = next(n for n in range(len(record), len(record) + 9) if len(str(n)) + len(record) == n)
        data += f"{length}{record}".encode()
    return _member("x", data, kind=kind)


def _zeros(size: int) -> bytes:
    return _member("evil", bytes(size)) + END


# One piece of data of no bytes, the whole size of 1 TiB beside it: GNU's old format and two of its newer ones.
HOLES = _member(
    "evil",
    kind=tarfile.GNUTYPE_SPARSE,
    fields={386: b"%011o\0%011o\0" % (0, 0), 483: b"\x80" + (2**40).to_bytes(11, "big")},
)
PAX_HOLES = _records(
    GNU__sparse__major="1", GNU__sparse__minor="0", GNU__sparse__name="evil", GNU__sparse__realsize=str(2**40)
) + _member("evil", b"0\n".ljust(512, b"\0"))
OLD_PAX_HOLES = _records(GNU__sparse__size=str(2**40), GNU__sparse__numblocks="0", GNU__sparse__map="0,0") + _member(
    "evil"
)


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


def _repeated(data: bytes, times: int) -> Callable[[World], Files]:
    """An archive that names one layer many times."""

    def files(world: World) -> Files:
        config, _ = _saved(world)
        config["rootfs"]["diff_ids"] = [f"sha256:{hashlib.sha256(data).hexdigest()}"] * times
        return {"c.json": json.dumps(config).encode(), "l.tar": data}

    return files


def _twice_spelt(world: World) -> Files:
    """Engines take keys of any case, and the last counts."""
    config, layer = _saved(world)
    text = (
        json.dumps(config).replace('"Labels":', '"volumes": {"/proc/x": {}}, "Labels":').replace('"Volumes": null,', "")
    )
    return {"c.json": text.encode(), "l.tar": layer}


LAYERS = {"layer_named_often": 10, "too_many_layers": 128}  # how often one is named
ARCHIVES: dict[str, Callable[[World], Files]] = {
    "text_archive": lambda _: {},
    "truncated_archive": _change(lambda _: None),
    "compressed_archive": _change(lambda _: None),
    "two_images": _change(lambda _: None),
    "no_layer": lambda world: {"c.json": json.dumps(_saved(world)[0]).encode()},
    "endless_link": _layer("l.tar"),
    "link_out_of_it": _layer("../../../../etc/passwd"),
    "other_layer": _layer(_zeros(100)),
    "oversize_layer": _layer(gzip.compress(_zeros(3 * 10**6))),
    "foreign_platform": _change(lambda config: config.update(architecture="vax")),
    "no_entry_point": _change(lambda config: config["config"].pop("Cmd")),
    "wrong_types": _change(lambda config: config["config"].update(Cmd="/nothing/there", Volumes=[7])),
    "tag_clobber": _change(lambda _: None),
    "deep_configuration": lambda world: {"c.json": b"[" * 10**5 + b"]" * 10**5, "l.tar": _saved(world)[1]},
    "large_configuration": lambda world: {"c.json": b" " * 5 * 2**20, "l.tar": _saved(world)[1]},
    "keys_of_two_spellings": _twice_spelt,
    "records_of_an_archive": _change(lambda _: None),
    "date_that_is_none": _change(lambda config: config.update(created="yesterday")),
    "layer_named_often": _repeated(_zeros(300_000), LAYERS["layer_named_often"]),
    "too_many_layers": _repeated(END, LAYERS["too_many_layers"]),
    # what readers of tars disagree on
    "layer_with_holes": _layer(HOLES + END),
    "layer_with_pax_holes": _layer(PAX_HOLES + END),
    "layer_with_old_pax_holes": _layer(OLD_PAX_HOLES + END),
    "layer_with_holes_for_all": _layer(_records(tarfile.XGLTYPE, GNU__sparse__size="1") + END),
    "layer_of_two_members": _layer(gzip.compress(_member("good")) + gzip.compress(PAX_HOLES + END)),
    "layer_with_a_long_record": _layer(_records(comment="x" * 2**20) + _zeros(1)),
    "layer_with_a_length_in_records": _layer(_records(size="4096") + _zeros(1)),
    "layer_with_a_zero_in_a_number": _layer(_member("evil", bytes(512), fields={124: b"\x0000000001000"}) + END),
    "layer_with_a_sign_in_a_number": _layer(_member("evil", bytes(512), fields={124: b"+0000001000\0"}) + END),
    "layer_with_a_negative_length": _layer(_member("evil", fields={124: b"\xff" * 12}) + END),
    "layer_with_a_link_of_bytes": _layer(_member("evil", bytes(512), kind=tarfile.LNKTYPE) + END),
    "layer_with_an_old_folder": _layer(_member("evil/", bytes(512), kind=tarfile.AREGTYPE) + END),
    "layer_with_an_unknown_type": _layer(_member("evil", kind=b"Z") + END),
    "layer_behind_its_end": _layer(_member("good") + END + PAX_HOLES),
    "layer_without_a_checksum": _layer(_member("evil").replace(b"evil", b"good") + END),
    "layer_with_a_file_in_a_file": _repeated(_member("a") + _member("a/b") + END, 1),
    "layer_with_a_long_name": _repeated(_records(path="a" * 300) + _member("a") + END, 1),
    "layer_cut_off": _layer(_member("evil", bytes(5000))[:3000]),
    "gzip_layer_cut_off": _layer(gzip.compress(_zeros(10**5))[:-30]),
    # what engines unpack, without bounds
    "layer_by_bzip2": _layer(bz2.compress(os.urandom(1000))),
    "layer_by_xz": _layer(lzma.compress(_zeros(10**7))),
    "layer_by_zstandard": _layer(b"\x28\xb5\x2f\xfd" + bytes(600)),
    "layer_packed_twice": _layer(gzip.compress(gzip.compress(_zeros(10**7)))),
    "layer_that_looks_packed": _layer(_member("BZh91AY&SY") + END),
}  # fmt: skip


def write_archive(path: Path, case: Case, world: World) -> None:
    """Write the archive of a case."""
    name = case.function
    files = ARCHIVES.get(name, _change(lambda config: config["config"].update(case.config)))(world)
    entry = {"Config": "c.json", "RepoTags": [BASE_IMAGE], "Layers": ["l.tar"] * LAYERS.get(name, 1)}
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
    if name == "records_of_an_archive":  # which are said to have a gigabyte, and the file has it, too
        with path.open("r+b") as file:
            file.write(_member("x", kind=tarfile.XHDTYPE, fields={124: b"%011o\0" % 10**8}))
            file.truncate(10**8 + 10_240)
