"""Publish: the whole board with its pictures in one folder, for any static host."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from harness.base.digests import digest_file
from harness.base.errors import HarnessError, UsageError
from harness.base.files import atomic_file, write_text
from harness.base.structs import Strict
from harness.board.build import Written, write_board
from harness.board.site import LABEL_REPORT
from harness.dataset.secret import DISCLOSED
from harness.records.attachments import FOLDER, Attachment, Store, attachments, is_picture, open_store, unique
from harness.records.signing import SIGNATURE
from harness.records.store import read_protocol, read_records, record_folder
from harness.records.withdrawal import WITHDRAWAL
from harness.scoring.attachment_names import SMALL

MARK = ".published"  # in a folder that `publish` wrote, and so may replace

KEPT = SMALL | {"record.json", SIGNATURE, WITHDRAWAL, "protocol.json", LABEL_REPORT, DISCLOSED}
"""The files of records and protocols that are published; whatever else lies there is not."""


class Published(Strict, frozen=True, kw_only=True):
    """What `publish` wrote, and why attachments are missing from it: name in the store -> reason."""

    board: Written
    attachments: int
    missing: dict[str, str]


def publish(
    leaderboard: Path,
    folder: Path,
    *,
    features: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Published:
    """Write tables, site, records and their pictures to `folder`; with `features` all attachments.

    Pictures come from the store or from where they are published. Those that cannot be had are left out, and the pages
    say so. `folder` is new, empty, or one that this function wrote before; its `attachments/` can be listed in
    `store.yaml`. UsageError for another folder, for a file, and for
    damaged records.
    """
    if folder.resolve() == leaderboard.resolve():
        raise UsageError(f"{folder}: is the leaderboard itself", fix="name another folder to publish to")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is not a folder", fix="name a new or an empty folder")
    if leaderboard.resolve() in folder.resolve().parents or folder.resolve() in leaderboard.resolve().parents:
        raise UsageError(f"{folder}: lies in the leaderboard, or holds it", fix="name a folder beside it")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise UsageError(f"{folder}: holds other files than a published board", fix="name a new or an empty folder")
    if not any(leaderboard.glob("records/*/*/*/record.json")):
        raise UsageError(f"{leaderboard}: has no records to publish", fix="name the leaderboard with --leaderboard")
    write_text(folder / MARK, "Written by harness board --publish, which may replace and remove what lies here.\n")
    store = open_store(leaderboard)
    wanted: list[Attachment] = []
    hidden: set[Path] = set()  # folders of records whose pictures may not be shown
    for record in read_records(leaderboard):
        facts = record.result.protocol
        images = read_protocol(leaderboard, facts.name, facts.version).publish.images
        own = record_folder(leaderboard, record)
        hidden |= set() if images else {own}
        found = attachments(record, own, images=images)
        wanted += [one for one in found if features or is_picture(one.name)]
    missing: dict[str, str] = {}
    each = unique(wanted)
    for number, one in enumerate(each, start=1):
        try:
            _copy(store, one, folder / FOLDER / one.file)
        except HarnessError as error:
            missing[one.file] = error.message
        if progress is not None:
            progress(number, len(each))
    _remove_others(folder / FOLDER, {folder / FOLDER / one.file for one in each})
    _copy_records(leaderboard, folder, hidden)
    written = write_board(leaderboard, folder, tidy=True)
    return Published(board=written, attachments=len(each) - len(missing), missing=missing)


def _copy(store: Store, attachment: Attachment, target: Path) -> None:
    if target.is_file() and digest_file(target) == attachment.sha256:
        return
    with atomic_file(target) as part:
        shutil.copyfile(store.get(attachment), part)


def _copy_records(leaderboard: Path, folder: Path, hidden: Collection[Path]) -> None:
    """The records without attachments that older versions kept beside them, and without the strips of `hidden` ones;
    what is gone is removed."""
    kept = {
        path.relative_to(leaderboard): path
        for path in (leaderboard / "records").rglob("*")
        if path.name in KEPT and not (path.parent in hidden and is_picture(path.name))
    }
    for name, path in kept.items():
        if path.is_symlink() or not path.is_file():
            raise UsageError(f"{path}: is not a regular file", fix="remove it, or restore it from version control")
        target = folder / name
        if not target.is_file() or target.read_bytes() != path.read_bytes():
            with atomic_file(target) as part:
                shutil.copyfile(path, part)
    _remove_others(folder / "records", {folder / name for name in kept})


def _remove_others(folder: Path, kept: Collection[Path]) -> None:
    """Remove the files below a published folder that are not published any more."""
    for path in folder.rglob("*"):
        if path not in kept and (path.is_symlink() or path.is_file()):
            path.unlink()
