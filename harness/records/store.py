"""Store: records on disk, written once and verified on reading.

A record is a folder `<leaderboard>/records/<protocol>-<version>/<slug>/<id>/`. `result` is what a run of the same
thing must repeat: its identity, whose digest is the record's id, to the bit, and its values within the tolerance of
`harness.records.agreement`. `observed` is what may differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from harness.base.errors import UsageError
from harness.base.files import atomic_folder, read_regular, write_bytes
from harness.base.structs import read_json, write_json
from harness.protocol import Protocol
from harness.records.agreement import disagreements, explain
from harness.records.attachments import Attachment, open_store
from harness.records.encoding import check_names, decode, encode
from harness.records.schema import Record, identity_of
from harness.records.signing import SIGNATURE, public_key, read_signature, write_signature
from harness.scoring.attachment_names import SMALL

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


SAME_IDENTITY = "the same protocol, data, labels, submission, outputs and weights"
TO_REPEAT = (
    "nothing was written. Score with the record's versions (constraints.txt of its commit) to see whether they are the "
    "reason. If the code that scores has changed, the protocol needs a new version. To keep these values as well, use "
    "another --leaderboard"
)
TO_KEEP_ONE = "find out which is right (harness audit RECORD), and remove the folder of the other"


def record_folder(leaderboard: Path, record: Record) -> Path:
    """Where a record belongs."""
    protocol = record.result.protocol
    identity = f"{protocol.name}-{protocol.version}"
    return leaderboard / "records" / identity / record.result.submission.slug / record.id


def protocol_file(leaderboard: Path, name: str, version: int) -> Path:
    """Where a leaderboard keeps the resolved protocol of its records, so that it can be read without `protocols/`."""
    return leaderboard / "records" / f"{name}-{version}" / "protocol.json"


def read_protocol(leaderboard: Path, name: str, version: int) -> Protocol:
    """The protocol that the records of a name and version were scored under."""
    return read_json(protocol_file(leaderboard, name, version), Protocol)


def keep_protocol(leaderboard: Path, protocol: Protocol) -> Protocol:
    """Write the resolved protocol beside its records, with the digests of its official test set; returns what is
    written. A protocol that comes without these digests leaves those that are there, and a file that says the same
    already stays as it is, without keys that are younger.

    UsageError when its name and version already have records under a different text or another official test set: they
    could not be compared.
    """
    path = protocol_file(leaderboard, protocol.name, protocol.version)
    there = read_json(path, Protocol) if path.is_file() else protocol
    if there.digest != protocol.digest:
        raise UsageError(
            f"{path}: protocol {protocol.identity} already has records under a different text",
            fix="raise the protocol's version, since a changed benchmark is a new one, or use another --leaderboard",
        )
    if protocol.official is None:
        protocol = msgspec.structs.replace(protocol, official=there.official)
    elif there.official not in (None, protocol.official):
        raise UsageError(
            f"{path}: protocol {protocol.identity} already has records on another official test set: its data and "
            f"labels have the digests {there.official.data} and {there.official.labels}, here "
            f"{protocol.official.data} and {protocol.official.labels}",
            fix="raise the protocol's version, since a changed benchmark is a new one, or use another --leaderboard",
        )
    if path.is_file() and there == protocol:
        return protocol
    plain = msgspec.to_builtins(protocol)
    write_json(path, {key: plain[key] for key in plain if key != "official" or protocol.official is not None})
    return protocol


def write_record(
    leaderboard: Path, record: Record, attachments: Mapping[str, bytes], *, key: Ed25519PrivateKey | None = None
) -> tuple[Path, bool]:
    """Write a record and its attachments (file name -> bytes), signed where there is a key, in one step.

    Small attachments go into the record's folder, the others into the store. Returns the folder and whether it is new:
    records are append-only, and a run that repeats a result finds its record there already. What such a run made again,
    bit for bit, fills gaps of the store. UsageError, and nothing written, where the record that is there has other
    values (`harness.records.agreement`).
    """
    folder = record_folder(leaderboard, record)
    check_names(record, folder / "record.json")
    store = open_store(leaderboard)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(attachments.items())}
    large = [name for name in digests if name not in SMALL]
    there = _same_identity(folder, record)
    if there is not None:
        folder, known = there
        _refuse_other_values(known, record, said=f"{folder}: {SAME_IDENTITY}", fix=TO_REPEAT)
        large = [name for name in large if known.observed.files.get(name) == digests[name]]
    for name in large:
        store.put(Attachment(name=name, sha256=digests[name], folder=folder), attachments[name])
    if there is not None:
        return folder, False
    with atomic_folder(folder) as part:
        for name in digests.keys() & SMALL:
            write_bytes(part / name, attachments[name])
        observed = msgspec.structs.replace(record.observed, files=digests)
        write_bytes(part / "record.json", encode(msgspec.structs.replace(record, observed=observed)))
        if key is not None:
            write_signature(part, key)
    return folder, True


def _same_identity(folder: Path, record: Record) -> tuple[Path, Record] | None:
    """The record of the same identity, if there is one: in the folder of its id, or of an older schema beside it."""
    if folder.exists():
        return folder, read_record(folder)
    for path in sorted(folder.parent.glob("[!.]*/record.json")):
        other = read_record(path.parent)
        if other.content is None and identity_of(other.result) == record.id:
            return path.parent, other
    return None


def read_record(folder: Path) -> Record:
    """Read a record and verify its id and content, the files in its folder and its signature if it has one.

    Files in the store are verified when they are used (`harness.records.attachments`). UsageError names what was
    damaged or altered.
    """
    path = folder / "record.json"
    try:
        record = decode(read_regular(path), path)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file", fix="name the folder of a record") from None
    for name, digest in record.observed.files.items():
        if name not in SMALL:
            continue
        try:
            found = hashlib.sha256(read_regular(folder / name)).hexdigest()
        except FileNotFoundError:
            found = ""
        if found != digest:
            raise UsageError(
                f"{folder / name}: missing, damaged or altered since the record was written",
                fix="restore it from version control, or remove the record's folder",
            )
    read_signature(folder)
    return record


def sign_record(folder: Path, key: Ed25519PrivateKey) -> None:
    """Sign an undamaged record. One that this key has signed stays as it is; UsageError if another key has."""
    read_record(folder)
    there = read_signature(folder)
    if there is not None and there.key != public_key(key):
        raise UsageError(
            f"{folder}: already signed by the key {there.key}", fix=f"remove its {SIGNATURE} to sign it again"
        )
    if there is None:
        write_signature(folder, key)


def unsigned_records(leaderboard: Path) -> list[Path]:
    """The folders of a leaderboard's unsigned records."""
    folders = [record_folder(leaderboard, record) for record in read_records(leaderboard)]
    return [folder for folder in folders if read_signature(folder) is None]


def read_records(leaderboard: Path) -> Iterator[Record]:
    """Every record below a leaderboard, in order of path.

    UsageError for a damaged record, for one that lies in the folder of another protocol or submission, and for two of
    the same identity whose values do not agree (`harness.records.agreement`).
    """
    known: dict[str, Record] = {}
    for path in sorted(leaderboard.glob("records/*/*/*/record.json")):
        if path.parent.name.startswith("."):
            continue
        record, place = read_record(path.parent), path.parent
        if place != (right := record_folder(leaderboard, record)):
            raise UsageError(
                f"{place}: holds a record of another protocol or submission, whose folder is {right}",
                fix="move it there if there is none; otherwise remove it",
            )
        first = known.setdefault(record.id if record.content else identity_of(record.result), record)
        if first is not record:  # one is of an older schema, whose id also follows from its values
            said = f"{place}: of {SAME_IDENTITY} as {record_folder(leaderboard, first)}"
            _refuse_other_values(first, record, said=said, fix=TO_KEEP_ONE)
        yield record


def _refuse_other_values(first: Record, second: Record, *, said: str, fix: str) -> None:
    """UsageError that begins with `said` where two records of one identity disagree: the board would show either."""
    found = disagreements(first.result, second.result)
    if found:
        raise UsageError(
            f"{said}, but {len(found)} numbers differ by more than processors and threads explain:\n  "
            f"{explain(first, second, found)}",
            fix=fix,
        )
