"""What lies beside a record's `record.json`: per-slice values and features for checking, and pictures."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

from harness.base.structs import canonical_json
from harness.dataset.cases import Dataset
from harness.labels.label_set import LabelSet
from harness.protocol import Protocol
from harness.scoring.pictures import make_pictures
from harness.scoring.score import Scorecard


def _attachments(
    protocol: Protocol, dataset: Dataset, labels: LabelSet, outputs: Mapping[str, Path], card: Scorecard
) -> dict[str, bytes]:
    """The record's files: per-slice values and features for checking, and pictures where the protocol allows them."""
    lines = ["case,patient,reference,metric,region,value"]
    for one in card.slices:
        value = "" if one.value is None else f"{one.value:.7g}"
        lines.append(f"{one.case},{one.patient},{one.reference},{one.metric},{one.region},{value}")
    files = {"slices.csv.gz": gzip.compress("\n".join(lines).encode(), mtime=0), "features.npz": card.features}
    if card.spectra:
        files["spectra.json"] = canonical_json(card.spectra)
    if protocol.publish.images:
        files |= make_pictures(dataset, labels, outputs, card, protocol.gate)
    return files
