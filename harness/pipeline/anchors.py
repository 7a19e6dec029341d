"""The reference rows of a board: made by the harness, scored as a submission is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.base.digests import digest_json
from harness.base.progress import Reporter
from harness.base.slices import read_image
from harness.board.build import write_board
from harness.pipeline.attachments import attachment_files
from harness.pipeline.prepare import Benchmark, LabelledData
from harness.pipeline.result import keep_record, observed_without_engine, result_of, score_outputs
from harness.records.schema import Record, SubmissionFacts, make_record
from harness.run.result import digest_outputs
from harness.scoring.anchors import Anchor, anchors_of, make_anchor
from harness.scoring.attachment_names import FEATURES


def evaluate_anchors(benchmark: Benchmark, reporter: Reporter) -> list[Record]:
    """Score a benchmark's reference rows, write their records and rebuild the board. No container runs."""
    records = []
    for anchor in anchors_of(benchmark.dataset, benchmark.protocol.purify):
        with reporter.stage(anchor.slug) as progress, TemporaryDirectory() as folder:
            outputs = anchor_outputs(anchor, benchmark, Path(folder))
            card = score_outputs(outputs, benchmark, progress)
            digest = digest_outputs({name: read_image(path) for name, path in outputs.items()})
            result = result_of(_facts(anchor), benchmark, card, outputs=digest, device="cpu")
            record = make_record(result, observed_without_engine(benchmark.protocol))
            attachments = attachment_files(benchmark.protocol, benchmark.dataset, benchmark.labels, outputs, card)
            del attachments[FEATURES]  # the largest file of a record, and anybody can make these images again
            records.append(keep_record(record, attachments, benchmark).record)
    write_board(benchmark.leaderboard)
    return records


def anchor_outputs(anchor: Anchor, data: LabelledData, folder: Path) -> Mapping[str, Path]:
    """Write a reference row's images to `folder`: case -> 8-bit grey PNG."""
    return make_anchor(anchor, data.dataset, data.protocol.purify, folder, weak_outputs=data.weak_outputs)


def _facts(anchor: Anchor) -> SubmissionFacts:
    return SubmissionFacts(
        slug=anchor.slug,
        name=anchor.name,
        version="1",
        authors=("the harness",),
        digest=digest_json(anchor),
        family=(),
        anchor=True,
    )
