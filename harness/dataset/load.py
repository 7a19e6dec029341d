"""Load: Protocol -> Dataset, checked slice pairs on disk."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from harness.base.progress import Progress, part_of
from harness.base.text import first_few
from harness.dataset.cases import Dataset
from harness.dataset.coupled import coupled_digest, with_coupled
from harness.dataset.from_folder import folder_slices
from harness.dataset.from_phantom import phantom_slices, scanned_before
from harness.dataset.from_scans import scan_slices
from harness.dataset.official import (
    Imported,
    difference_note,
    find_imported,
    in_words,
    measured,
    official_dataset,
)
from harness.dataset.secret import find_secret
from harness.protocol import OfficialSet, PhantomData, Protocol, ScansData


def load_data(
    protocol: Protocol, *, leaderboard: Path = Path("leaderboard"), progress: Progress | None = None
) -> Dataset:
    """The test set of a protocol: read and checked (folder, scans), imported, found in the cache or made (phantom).

    `leaderboard` is where a secret seed may have been disclosed. UsageError names the files that do not fit, or the
    secret that is missing; damaged slices in the cache are generated again. Where the set is not the official one, its
    notes say so. A protocol without official digests always gets this machine's own. Coupled slices, if the protocol
    asks for them, are always made here.
    """
    official = protocol.official_data
    if not isinstance(protocol.data, PhantomData):
        of_files = scan_slices if isinstance(protocol.data, ScansData) else folder_slices
        dataset = of_files(protocol.data, protocol)  # type: ignore[arg-type]
        return _compared(with_coupled(dataset, protocol, protocol.data, progress), official, None)
    secret = find_secret(protocol, leaderboard, os.environ)
    data = protocol.data if secret is None else msgspec.structs.replace(protocol.data, seed=secret.seed)
    imported = find_imported(official) if official is not None else None
    if official is not None and imported is not None and not imported.damaged:
        dataset = with_coupled(official_dataset(official, data, imported), protocol, data, progress)
        dataset = msgspec.structs.replace(dataset, notes=(_use_note(protocol, official, data, imported),))
    else:
        parts = 1 if protocol.coupled is None else 2
        dataset = phantom_slices(data, part_of(progress, 0, parts))
        dataset = with_coupled(dataset, protocol, data, part_of(progress, parts - 1, parts))
        dataset = _compared(dataset, official, imported)
    return dataset if secret is None else msgspec.structs.replace(dataset, names_key=secret.names_key)


def _compared(dataset: Dataset, official: OfficialSet | None, imported: Imported | None) -> Dataset:
    """A test set with notes on how it differs from the official one."""
    notes = list(dataset.notes)
    if imported is not None:
        notes.append(
            f"the imported test set in {imported.folder} is damaged ({', '.join(first_few(imported.damaged))}), and "
            "not used: import it again"
        )
    if official is not None and dataset.digest != official.data:
        found = measured(dataset, official, imported)
        notes.append(difference_note("slices", found, official))
    return msgspec.structs.replace(dataset, notes=tuple(notes))


def _use_note(protocol: Protocol, official: OfficialSet, data: PhantomData, imported: Imported) -> str:
    """That the imported set is used, and, where this machine's own lies in the cache, how that differs."""
    said = f"used is the imported official test set of {official.name}-{official.version}"
    own = scanned_before(data)
    if own is None or coupled_digest(own.digest, protocol) == official.data:
        return said
    found = measured(own, official, imported)
    return "\n  ".join([f"{said}; of what this machine makes {len(found)} slices differ from it:", *in_words(found)])
