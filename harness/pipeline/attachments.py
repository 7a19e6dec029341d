"""What lies beside a record's `record.json`: per-slice values and features for checking, and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.base.structs import canonical_json
from harness.dataset.cases import Dataset
from harness.labels.label_set import LabelSet
from harness.protocol import Protocol
from harness.records.slice_table import write_slices
from harness.scoring.attachment_names import FEATURES, SLICES, SPECTRA
from harness.scoring.pictures import make_pictures
from harness.scoring.score import Scorecard


def attachment_files(
    protocol: Protocol, dataset: Dataset, labels: LabelSet, outputs: Mapping[str, Path], card: Scorecard
) -> dict[str, bytes]:
    """The record's files: per-slice values and features for checking, and pictures where the protocol allows them."""
    files = {SLICES: write_slices(card.slices), FEATURES: card.features}
    if card.spectra:
        files[SPECTRA] = canonical_json(card.spectra)
    if protocol.publish.images:
        files |= make_pictures(dataset, labels, outputs, card, protocol.gate, anatomy=protocol.anatomy)
    return files
