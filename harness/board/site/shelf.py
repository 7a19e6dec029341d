"""Shelf: which files of records a page can link to, and by which addresses."""

from __future__ import annotations

from pathlib import Path

from harness.base.structs import Strict
from harness.protocol import Protocol
from harness.records.attachments import FOLDER, attachment, is_picture
from harness.records.schema import Record
from harness.records.store import record_folder
from harness.scoring.attachment_names import FEATURES, LONG_SLICES, PICTURES, SLICES, SMALL, SPECTRA, STRIP

LINKED = frozenset({SLICES, LONG_SLICES, SPECTRA, PICTURES, FEATURES})
"""What a page links to beside pictures; a file of any other name is no page of ours."""


class Shelf(Strict, frozen=True, kw_only=True):
    """The files of records that lie in the folder of a site: those of `records`, and `stored` ones below `attachments`.

    `leaderboard` holds the records; `stored` are the names of files in the site's own folder of attachments.
    """

    leaderboard: Path
    stored: frozenset[str]

    def files(self, protocol: Protocol, record: Record) -> dict[str, str]:
        """The files that a page may show or link to: name -> address below the site's root."""
        place = record_folder(Path(), record).as_posix()
        folder = record_folder(self.leaderboard, record)
        found = {}
        for name in record.observed.files:
            if is_picture(name) and not protocol.publish.images:
                continue
            if name in SMALL:
                found[name] = f"{place}/{name}"
            elif (file := attachment(record, folder, name).file) in self.stored:
                found[name] = f"{FOLDER}/{file}"
        strip = self.strip(protocol, record)
        return found | ({STRIP: strip} if strip else {})

    def strip(self, protocol: Protocol, record: Record) -> str:
        """The address of a record's strip; empty where it has none that may be shown.

        Beside older records lies one that they do not list.
        """
        if protocol.publish.images and (record_folder(self.leaderboard, record) / STRIP).is_file():
            return f"{record_folder(Path(), record).as_posix()}/{STRIP}"
        return ""


def shelf_of(leaderboard: Path, root: Path) -> Shelf:
    """What lies in the folder `root` that a site is written to: the leaderboard's own, or one to publish."""
    folder = root / FOLDER
    stored = frozenset(path.name for path in folder.iterdir()) if folder.is_dir() else frozenset[str]()
    return Shelf(leaderboard=leaderboard, stored=stored)
