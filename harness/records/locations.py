"""Locations of attachments: a folder, an https address, or any URL that fsspec opens (s3://, gs://, ...)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from harness.base.digests import digest_file
from harness.base.download import NotTheFile, download
from harness.base.errors import InfrastructureError, UsageError
from harness.base.files import atomic_file

MAX_BYTES = 4 << 30  # of one attachment


class NotThere(Exception):
    """The location answered, and does not have the file, or has other bytes under its name."""


def check_location(location: str, *, where: str) -> None:
    """UsageError for a location that is never read from; `where` says who names it."""
    if location.startswith("http://"):
        raise UsageError(f"{where}: {location}: plain http is not read from", fix="use the https address")


def fetch(location: str, target: Path, *, sha256: str) -> None:
    """Fetch the file that is named as `target` from a location, verified before it takes its name.

    NotThere says why a location does not have it; InfrastructureError where it does not answer.
    """
    address = f"{location.rstrip('/')}/{target.name}"
    if location.startswith("https://"):
        try:
            download(address, target, sha256=sha256, max_bytes=MAX_BYTES, public_only=False)
        except NotTheFile as error:
            raise NotThere(str(error)) from error
        return
    with atomic_file(target) as part:
        if "://" in location:
            _fetch_by_fsspec(address, part)
        else:
            try:
                data = (Path(location).expanduser() / target.name).read_bytes()
            except FileNotFoundError:
                raise NotThere(f"{address}: no such file") from None
            except (OSError, RuntimeError) as error:  # RuntimeError: ~ of nobody
                raise NotThere(f"{address}: {getattr(error, 'strerror', None) or error}") from None
            part.write_bytes(data)
        if (found := digest_file(part)) != sha256:
            raise NotThere(f"{address}: SHA-256 is {found}, expected {sha256}")


def send(path: Path, location: str, name: str, *, sha256: str) -> bool:
    """Copy an attachment to a location as `name`, unless it is there (behind a URL: a file of its name and size).

    Returns whether it was copied. UsageError where `path` is damaged or the location takes no files.
    """
    if (found := digest_file(path)) != sha256:
        raise UsageError(
            f"{path}: damaged or altered: its SHA-256 is {found}", fix="remove it, then: harness store pull"
        )
    if "://" not in location:
        target = Path(location).expanduser() / name
        if target.is_file() and digest_file(target) == sha256:
            return False
        with atomic_file(target) as part:
            shutil.copyfile(path, part)
        return True
    address = f"{location.rstrip('/')}/{name}"
    if location.startswith(("http://", "https://")):
        raise UsageError(
            f"{location}: files cannot be sent by http",
            fix="harness store push --to FOLDER, then upload the folder with your host's own tool",
        )
    files, place = _open(address)
    try:
        if files.exists(place) and files.size(place) == path.stat().st_size:
            return False
        files.makedirs(files._parent(place), exist_ok=True)
        files.put_file(str(path), place)
    except Exception as error:
        raise _refused(address, "written", error) from error
    return True


def _fetch_by_fsspec(address: str, part: Path) -> None:
    files, place = _open(address)
    try:
        with files.open(place, "rb") as source, part.open("wb") as target:
            shutil.copyfileobj(source, target)
    except FileNotFoundError:
        raise NotThere(f"{address}: no such file") from None
    except Exception as error:  # every backend has errors of its own
        raise _refused(address, "read", error) from error


def _open(address: str) -> tuple[Any, str]:
    """The file system of a URL and the path in it; fsspec comes with torch."""
    import fsspec  # type: ignore[import-untyped]

    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:  # a backend that is not installed, a protocol that there is not
        raise UsageError(
            f"{address}: cannot be opened: {error}", fix="install the backend, or correct the URL"
        ) from error
    except Exception as error:  # some connect at once, and every one has errors of its own
        raise _refused(address, "opened", error) from error
    return found


def _refused(address: str, done: str, error: Exception) -> InfrastructureError:
    return InfrastructureError(f"{address}: cannot be {done}: {error}", fix="check the address and your credentials")
