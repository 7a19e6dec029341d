"""Record -> its values, recomputed with the reference tools."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.base.errors import UsageError
from harness.base.progress import Reporter
from harness.base.structs import read_json
from harness.pipeline.anchors import anchor_outputs
from harness.pipeline.prepare import Benchmark, prepare
from harness.protocol import Protocol
from harness.records.attachments import open_store
from harness.records.schema import Record
from harness.records.store import read_record
from harness.reference_check.compare import Comparison, compare
from harness.run.cache import cached_outputs
from harness.run.outputs import output_files
from harness.scoring.anchors import anchors_of


def check_record(folder: Path, reporter: Reporter, *, outputs: Path | None = None) -> list[Comparison]:
    """Recompute a record's values with the reference tools (`harness.reference_check`).

    `outputs` is a folder with the outputs that were scored. Without it those of a cached run on this machine are
    taken, those of a reference row are made again, and for any other record the comparison starts from the features
    that the record keeps. UsageError where the record, its data or its outputs do not fit together.
    """
    record = read_record(folder)
    if record.result.status != "scored":
        raise UsageError(f"{folder}: a {record.result.status} record has no values", fix="choose a scored record")
    protocol = read_json(folder.parent.parent / "protocol.json", Protocol)
    benchmark = prepare(protocol, reporter, leaderboard=folder.resolve().parents[3], writes=False)
    with TemporaryDirectory() as scratch:
        images = _outputs_of(record, benchmark, outputs, Path(scratch))
        with reporter.stage("audit") as progress:
            return compare(
                record,
                folder,
                protocol,
                benchmark.dataset,
                benchmark.labels,
                extractors=benchmark.extractors,
                outputs=images,
                store=open_store(benchmark.leaderboard),
                progress=progress,
            )


def _outputs_of(record: Record, benchmark: Benchmark, outputs: Path | None, scratch: Path) -> Mapping[str, Path] | None:
    """A record's outputs (slice -> PNG) from the folder `outputs`, made again in `scratch`, or from the cache."""
    if outputs is not None:
        return output_files(outputs, benchmark.dataset)
    submission = record.result.submission
    if submission.anchor and record.observed.image is None:
        anchors = anchors_of(benchmark.dataset, benchmark.protocol.purify)
        anchor = next(one for one in anchors if one.slug == submission.slug)
        return anchor_outputs(anchor, benchmark, scratch)
    return cached_outputs(benchmark.dataset, str(record.result.outputs))
