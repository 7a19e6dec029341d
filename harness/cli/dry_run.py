"""`harness run --dry-run`: what would be done, once protocol and manifests are read. No engine is asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.cli._common import print_json, print_rows
from harness.run.weights import weights_name
from harness.sandbox import Limits
from harness.submission.manifest import Submission


def print_plan(submissions: Sequence[Path], protocol: str, leaderboard: Path, *, as_json: bool) -> None:
    """Print one row for each submission. UsageError for a protocol or manifest that a run would refuse."""
    from harness.protocol import load_protocol
    from harness.submission.manifest import load_submission

    chosen = load_protocol(protocol)
    rows = [_row(load_submission(path), chosen.limits) for path in submissions]
    records = str(leaderboard / "records" / chosen.identity)
    rows = [{**row, "protocol": chosen.identity, "records": f"{records}/{row['submission']}"} for row in rows]
    print_json(rows) if as_json else print_rows(rows, as_json=False)


def _row(entry: Submission, limits: Limits) -> dict[str, Any]:
    image = entry.manifest.image
    return {
        "submission": entry.slug,
        "image": f"build {image.build}" if image.build is not None else image.archive or image.ref,
        "weights": ", ".join(map(weights_name, entry.manifest.weights)) or "none",
        "gpu": entry.manifest.gpu,
        "limits": f"{limits.wall_s:g} s, {limits.memory_gb:g} GB, {limits.cpus:g} cores",
    }
