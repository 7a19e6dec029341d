"""Attachments: features and pictures of records, in a store that is addressed by SHA-256.

A record says the SHA-256 of each of its files. Small ones lie in its folder; the others lie in the store, a folder of
files named `<sha256><suffix>`, and are fetched from wherever the leaderboard publishes them when they are needed. Equal
files are stored once: rows that show the same slice share the pictures of its input, label and truth.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from harness.base.digests import digest_file
from harness.base.errors import HarnessError, InfrastructureError, UsageError
from harness.base.files import write_bytes
from harness.base.structs import Strict, read_yaml
from harness.records.locations import NotThere, check_location, fetch
from harness.records.schema import Record
from harness.scoring.attachment_names import PICTURE_SUFFIXES, SMALL
from harness.submission.manifest import ANCHOR_PREFIX

FOLDER = "attachments"  # in the leaderboard's folder

SETTINGS = "store.yaml"

FOLDER_VARIABLE = "HARNESS_STORE"

READ_VARIABLE = "HARNESS_STORE_READ"


class Settings(Strict, frozen=True, kw_only=True):
    """`store.yaml` of a leaderboard: where its attachments are published, tried in this order."""

    schema: Literal[1] = 1
    read: tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=500)], ...] = ()


class Attachment(Strict, frozen=True, kw_only=True):
    """A file of a record: its name, its SHA-256 (hex), and the record's folder."""

    name: str
    sha256: str
    folder: Path

    @property
    def file(self) -> str:
        """Its name in a store."""
        suffix = Path(self.name).suffix
        return self.sha256 + (suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else "")


class Store(Strict, frozen=True, kw_only=True):
    """Where attachments are written to and looked for, and the locations that they are fetched from."""

    folder: Path
    read: tuple[str, ...] = ()

    def put(self, attachment: Attachment, data: bytes) -> None:
        """Write an attachment; one that is here already, undamaged, stays."""
        path = self.folder / attachment.file
        if path.is_file() and digest_file(path) == attachment.sha256:
            return
        try:
            write_bytes(path, data)
        except InfrastructureError as error:
            raise InfrastructureError(
                error.message,
                fix=f"make room, or name another folder with ${FOLDER_VARIABLE}; nothing partial was kept",
            ) from error

    def here(self, attachment: Attachment) -> Path | None:
        """The file of an attachment on this machine, not verified; None where it is not here.

        Older leaderboards keep it in the record's folder.
        """
        return next(iter(self._places(attachment)), None)

    def _places(self, attachment: Attachment) -> list[Path]:
        """The regular files that may be an attachment."""
        places = (attachment.folder / attachment.name, self.folder / attachment.file)
        return [path for path in places if path.is_file() and not path.is_symlink()]

    def verified(self, attachment: Attachment) -> Path | None:
        """The file of an attachment on this machine; None where it is not here, UsageError where it is damaged."""
        places = self._places(attachment)
        sound = next((path for path in places if digest_file(path) == attachment.sha256), None)
        if sound is None and places:
            raise UsageError(
                f"{places[0]}: damaged or altered: its SHA-256 is not {attachment.sha256}, which {attachment.name} of "
                f"{attachment.folder} has",
                fix="remove the file, then: harness store pull",
            )
        return sound

    def adopt(self, attachment: Attachment) -> bool:
        """Move an attachment from the record's folder, where older versions kept it, into the store.

        Returns whether it was there. UsageError where it is damaged.
        """
        old = attachment.folder / attachment.name
        if not old.is_file() or old.is_symlink():
            return False
        if digest_file(old) != attachment.sha256:
            raise UsageError(
                f"{old}: damaged or altered: its SHA-256 is not {attachment.sha256}",
                fix="remove the file, then: harness store pull",
            )
        self.put(attachment, old.read_bytes())
        old.unlink()
        return True

    def get(self, attachment: Attachment) -> Path:
        """The verified file of an attachment, fetched from a location if it is not here.

        UsageError where it is damaged or published nowhere, InfrastructureError where a location does not answer.
        """
        path = self.verified(attachment)
        if path is not None:
            return path
        target = self.folder / attachment.file
        reasons = []
        unreachable = False
        for location in self.read:
            try:
                fetch(location, target, sha256=attachment.sha256)
            except NotThere as error:
                reasons.append(str(error))
            except HarnessError as error:
                reasons.append(error.message)
                unreachable |= isinstance(error, InfrastructureError)
            else:
                return target
        message = f"{attachment.folder}: its {attachment.name} is not in {self.folder}"
        if not reasons:
            raise UsageError(
                f"{message}, and no location to fetch it from is configured",
                fix=f"list the locations in {SETTINGS} of the leaderboard or in ${READ_VARIABLE}, name a folder that "
                f"holds it with ${FOLDER_VARIABLE}, or make it again: {_command(attachment)}, then repeat this command",
            )
        message = f"{message}, and no location has it:\n  " + "\n  ".join(reasons)
        if unreachable:
            raise InfrastructureError(message, fix="check the network, then run again")
        raise UsageError(
            message,
            fix=(
                f"correct the locations in {SETTINGS} of the leaderboard or ${READ_VARIABLE}, "
                f"or make it again: {_command(attachment)}, then repeat this command"
            ),
        )


def open_store(leaderboard: Path, environment: Mapping[str, str] | None = None) -> Store:
    """The store of a leaderboard.

    Its folder is `$HARNESS_STORE`, else `attachments/` in the leaderboard; it is fetched from `$HARNESS_STORE_READ`
    (locations between blanks), else from those that `store.yaml` lists. UsageError for a bad location.
    """
    environment = os.environ if environment is None else environment
    folder = environment.get(FOLDER_VARIABLE)
    named = environment.get(READ_VARIABLE)
    settings = leaderboard / SETTINGS
    if named is not None:
        read, where = tuple(named.split()), f"${READ_VARIABLE}"
    else:
        listed = read_yaml(settings, Settings).read if settings.is_file() else ()
        read = tuple(one if "://" in one or one.startswith("~") else str(leaderboard / one) for one in listed)
        where = str(settings)
    for location in read:
        check_location(location, where=where)
    return Store(folder=Path(folder).expanduser() if folder else leaderboard / FOLDER, read=read)


def attachments(record: Record, folder: Path, *, images: bool = True) -> list[Attachment]:
    """What a record keeps in the store; `folder` is the record's. Without pictures unless `images`."""
    found = [attachment(record, folder, name) for name in sorted(record.observed.files) if name not in SMALL]
    return [one for one in found if images or not is_picture(one.name)]


def attachment(record: Record, folder: Path, name: str) -> Attachment:
    """A record's file by its name, which the record must have."""
    return Attachment(name=name, sha256=record.observed.files[name], folder=folder)


def _command(attachment: Attachment) -> str:
    """The command that makes an attachment again; its record lies in records/<protocol>-<version>/<slug>/<id>."""
    slug, protocol = attachment.folder.parent.name, attachment.folder.parent.parent.name.rpartition("-")[0]
    if slug.startswith(ANCHOR_PREFIX):
        return f"harness anchors -p {protocol}"
    return f"harness run submissions/{slug} -p {protocol}"


def is_picture(name: str) -> bool:
    """Whether a file shows slices, which a protocol may forbid to publish."""
    return Path(name).suffix in PICTURE_SUFFIXES


def unique(found: Sequence[Attachment]) -> list[Attachment]:
    """Each file once, in the order of first use."""
    return list({one.file: one for one in found}.values())
