"""Strict YAML and JSON reading, grey PNG in and out, digests, atomic writes, the cache folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import io
import json
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import yaml
from numpy.typing import NDArray

from harness.errors import InfrastructureError, UsageError

T = TypeVar("T")
MAX_YAML_BYTES = 64 * 1024
NOT_COPIED = frozenset({".git", "__pycache__"})  # of a submission's folder: no part of its digest or of its build
PART = ".harness.part"  # how the names of files and folders end that are being written


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every record that crosses a stage or a file: immutable, by keyword, unknown fields refused."""


# -------------------------------------------------------------------------------- folders
def cache_root() -> Path:
    """The cache folder: `$HARNESS_CACHE`, else `~/.cache/ipv2-harness`."""
    return Path(os.environ.get("HARNESS_CACHE") or Path.home() / ".cache" / "ipv2-harness").expanduser()


@contextlib.contextmanager
def _name_the_disk(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write into an infrastructure error that names the place."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        raise InfrastructureError(
            f"cannot write {path}: {error.strerror}",
            fix="make room or give another place with HARNESS_CACHE=/path/with/space; nothing half-written was kept",
        ) from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file or folder, which the kernel frees when this process dies, however it dies.

    BlockingIOError if another process holds it, FileNotFoundError if it is not there (any more).
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not path.exists() or not os.path.samestat(os.fstat(handle), path.stat()):
            raise FileNotFoundError(errno.ENOENT, "removed meanwhile", str(path))
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def in_turn(path: Path, *, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Do the block while no other process on this machine does one for the same `path` (a lock file).

    Where one does, `waiting` is called once, and the block begins when the other has ended or died.
    """
    with contextlib.ExitStack() as held:
        with _name_the_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                try:
                    path.touch()
                    held.enter_context(_locked(path))
                    break
                except BlockingIOError:
                    if waiting is not None:
                        waiting()
                        waiting = None
                    time.sleep(0.2)
                except FileNotFoundError:
                    pass  # whoever held it has just removed it
        held.callback(path.unlink, missing_ok=True)
        yield


@contextlib.contextmanager
def _part_of(path: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """A new sibling of `path` for writing to, made by `make` and locked for as long as its maker lives."""
    with _name_the_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        with contextlib.ExitStack() as held:
            while True:
                part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{PART}")
                make(part)
                try:
                    held.enter_context(_locked(part))
                    break
                except OSError as error:  # somebody's sweep took it before it was locked
                    if error.errno not in (errno.EWOULDBLOCK, errno.ENOENT):
                        raise
            yield part


@functools.cache
def _sweep(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder; once a process."""
    for part in folder.glob(f".*{PART}"):
        with contextlib.suppress(OSError), _locked(part):  # of a process that lives
            shutil.rmtree(part) if part.is_dir() else part.unlink()


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write to; it takes the name `path` only if the block succeeds.

    It is there already, empty: it is to be written to, not replaced.
    """
    with _part_of(path, Path.touch) as part:
        try:
            yield part
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling folder that becomes `path` if the block succeeds.

    When another process finished the same folder first, theirs stands and ours is dropped: the name of a
    cached folder is the digest of what made it, so both hold the same.
    """
    with _part_of(path, Path.mkdir) as part:
        try:
            yield part
            try:
                part.rename(path)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def private_folder(root: Path) -> Iterator[Path]:
    """A temporary folder in `root` that other users cannot enter. What killed processes left there goes first: it may
    be data of patients."""
    with _part_of(root / "private", functools.partial(Path.mkdir, mode=0o700)) as part:
        try:
            yield part
        finally:
            shutil.rmtree(part, ignore_errors=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_file(path) as part:
        part.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` to `path` atomically."""
    write_bytes(path, text.encode())


# -------------------------------------------------------------------------------- secrets and keys
def refuse_shared_folder(path: Path) -> None:
    """UsageError where a secret or a key lies, or would lie, in what is handed on: a git repository, which gets
    published, or a submission's folder, which goes into a build."""
    for parent in path.resolve().parents:
        for mark, kind in ((".git", "repository"), ("submission.yaml", "submission")):
            if (parent / mark).exists():
                raise UsageError(
                    f"{path}: lies in the {kind} {parent}, and a secret or a key never may",
                    fix="keep it outside of both, such as in a folder of its own in your home folder",
                )


def read_private(path: Path, *, named_by: str) -> bytes:
    """The bytes of a secret or a key, which only its owner may read and which lies in no repository or submission.

    `named_by` is the variable of the environment that names the file. UsageError says what is wrong with it.
    """
    if not path.is_file():
        raise UsageError(f"{named_by}={path}: no such file", fix=f"correct or unset {named_by}")
    refuse_shared_folder(path)
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise UsageError(
            f"{named_by}={path}: others than its owner may use it (mode {mode:03o})", fix=f"chmod 600 {path}"
        )
    return path.read_bytes()


# -------------------------------------------------------------------------------- digests
def digest_bytes(*parts: bytes) -> str:
    """SHA-256 (hex) of byte strings, each preceded by its length, so that joints cannot be confused."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "big"))
        sha.update(part)
    return sha.hexdigest()


def digest_file(path: Path) -> str:
    """Plain SHA-256 (hex) of a file's bytes, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_pixels(image: NDArray[np.uint8]) -> str:
    """SHA-256 (hex) of an image's shape and pixels, however it is stored."""
    return digest_bytes(repr(image.shape).encode(), image.tobytes())


def digest_json(value: Any) -> str:
    """SHA-256 (hex) of a record or of plain data, independent of key order."""
    return digest_bytes(canonical_json(value))


def digest_code(*modules: str) -> str:
    """SHA-256 (hex) of modules and packages of this project, weights included: part of the key of what they make."""
    root = Path(__file__).resolve().parent.parent
    parts: list[bytes] = []
    for module in modules:
        path = root.joinpath(*module.split("."))
        inside = [one for one in path.rglob("*") if one.is_file() and "__pycache__" not in one.parts]
        for source in sorted(inside) if path.is_dir() else [path.with_suffix(".py")]:
            parts += [source.relative_to(root).as_posix().encode(), source.read_bytes()]
    return digest_bytes(*parts)


def digest_folder(folder: Path) -> str:
    """SHA-256 (hex) over relative names and bytes of the files under `folder`: whatever a build can copy.

    Hidden files are among them; NOT_COPIED is left out.
    """
    parts: list[bytes] = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if not NOT_COPIED.isdisjoint(relative.parts):
            continue
        if path.is_symlink():
            parts += [relative.as_posix().encode(), b"link", os.fsencode(path.readlink())]
        elif path.is_file():
            parts += [
                relative.as_posix().encode(),
                b"x" if os.access(path, os.X_OK) else b"-",
                path.read_bytes(),
            ]
    return digest_bytes(*parts)


# -------------------------------------------------------------------------------- JSON and YAML
def canonical_json(value: Any) -> bytes:
    """Compact JSON with sorted keys; NaN and infinities are refused (ValueError)."""
    plain = msgspec.to_builtins(value)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def write_json(path: Path, value: Any) -> None:
    """Write a record or plain data as readable, key-sorted JSON, atomically; NaN is refused (ValueError)."""
    plain = msgspec.to_builtins(value)
    write_text(path, json.dumps(plain, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, kind: type[T]) -> T:
    """Read JSON into the record type `kind`; UsageError names file, place and expectation."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path}: {error}", fix="restore the file, or delete it if it is a cached one") from error


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that also refuses anchors, aliases, merge keys and duplicate keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.constructor.ConstructorError(None, None, "anchors and aliases are not allowed", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, kind: type[T]) -> T:
    """Read a YAML file of at most 64 kB into the record type `kind`.

    UsageError names the file and the place for: unreadable or oversized files, Python tags, anchors, aliases,
    duplicate or unknown keys, missing keys, wrong types.
    """
    try:
        size = path.stat().st_size
        if size > MAX_YAML_BYTES:
            raise UsageError(
                f"{path}: {size} bytes, at most {MAX_YAML_BYTES} are read", fix="move data out of the file"
            )
        data = yaml.load(path.read_bytes(), Loader=_StrictLoader)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: not plain YAML: {error}", fix="correct the line that is named") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return msgspec.convert(data, type=kind)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"{path}: {error}{_known_keys(error, kind)}", fix="correct the key or value that is named"
        ) from error


def _known_keys(error: msgspec.ValidationError, kind: Any) -> str:
    if "unknown field" not in str(error) or " - at " in str(error):
        return ""
    return f" (known: {', '.join(getattr(kind, '__struct_fields__', ()))})"


def expand_variables(text: str, *, where: str, environment: Mapping[str, str] | None = None) -> str:
    """Replace `${NAME}` by the environment's value; UsageError names the variable that is not set."""
    from string import Template

    environment = os.environ if environment is None else environment
    try:
        return Template(text).substitute(environment)
    except KeyError as error:
        name = error.args[0]
        raise UsageError(
            f"{where}: {text!r} needs the environment variable {name}, which is not set",
            fix=f"export {name}=/path/to/the/data",
        ) from None
    except ValueError as error:
        raise UsageError(f"{where}: {text!r}: {error}") from None


# -------------------------------------------------------------------------------- grey PNG
def read_grey(path: Path) -> NDArray[np.uint8]:
    """Read an 8-bit grey PNG, or one of three equal channels, as uint8 (height, width).

    For files of our own or of the organiser; a submission's outputs go through `harness.outputs`.
    UsageError names the file for anything else: 16-bit, colour, palette, alpha, animated, unreadable.
    """
    from PIL import Image

    expected = "expected an 8-bit grey PNG (or three equal channels)"
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if getattr(image, "is_animated", False):
                raise UsageError(f"{path}: {expected}, found an animation")
            mode = image.mode
            if mode not in ("L", "RGB"):
                depth = "16-bit" if mode.startswith("I") else f"mode {mode}"
                raise UsageError(
                    f"{path}: {expected}, found {depth}",
                    fix="map the slice through one fixed HU window to 8 bits and save it as mode L",
                )
            pixels = np.asarray(image)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path}: {expected}, but it cannot be read: {error}") from error
    if pixels.ndim == 3:
        if not ((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all()):
            raise UsageError(f"{path}: {expected}, found colour", fix="save one channel, mode L")
        pixels = pixels[..., 0]
    return np.array(pixels, dtype=np.uint8)


# How much time goes into making a PNG small: what zlib usually does; noise as small in a third of the time; none.
COMPRESSION: dict[str, dict[str, int]] = {
    "usual": {},
    "quick": {"compress_level": 1, "compress_type": zlib.Z_RLE},
    "none": {"compress_level": 0},
}


def png_bytes(pixels: NDArray[np.uint8], *, compression: str = "usual") -> bytes:
    """uint8 (height, width) as the bytes of an 8-bit grey PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels, dtype=np.uint8)).save(buffer, format="PNG", **COMPRESSION[compression])
    return buffer.getvalue()


def write_grey(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write uint8 (height, width) as an 8-bit grey PNG, atomically."""
    write_bytes(path, png_bytes(pixels))
