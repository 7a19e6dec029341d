"""The tables of a scorecard that need further slices (`harness.dataset.cases.FurtherSlice`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.dataset.cases import Dataset
from harness.labels.label_set import LabelSet
from harness.protocol import Protocol
from harness.scoring.coupled import coupled_table
from harness.scoring.lesions import lesion_table
from harness.scoring.scans import scan_table
from harness.scoring.values import Table


def further_tables(
    outputs: Mapping[str, Path],
    dataset: Dataset,
    labels: LabelSet,
    protocol: Protocol,
    hu_per_level: float | None,
    *,
    clipped: Mapping[str, float],
) -> dict[str, Table]:
    """Name -> table, of those whose slices the data hold and whose outputs are there.

    Outputs that were handed in, or made before there were further slices, have none. ScoringError where a value cannot
    be computed. `clipped` are the regions without an error without truth (`coupled.clipped_regions`).
    """
    region_maps = {case.name: labels.regions_path(case) for case in dataset.cases}
    found = {
        "lesions": lesion_table(outputs, dataset),
        "scans": scan_table(outputs, dataset, region_maps, protocol.regions, hu_per_level),
        "coupled": coupled_table(outputs, dataset, labels, protocol, clipped=clipped),
    }
    return {name: table for name, table in found.items() if table}
