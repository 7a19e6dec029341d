"""Outputs that somebody made elsewhere -> self-reported scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness.base.errors import UsageError
from harness.base.png import pixels_of
from harness.base.progress import Reporter
from harness.base.slices import read_slices
from harness.board.build import write_board
from harness.imaging.slips import find_slips
from harness.pipeline.attachments import attachment_files
from harness.pipeline.prepare import Benchmark
from harness.pipeline.result import keep_record, observed_without_engine, result_of, score_outputs
from harness.protocol import Protocol
from harness.records.schema import Record, SubmissionFacts, make_record
from harness.run.outputs import output_files, read_folder
from harness.run.result import digest_outputs


def with_metrics(protocol: Protocol, *, only: Sequence[str], skip: Sequence[str], features: bool) -> Protocol:
    """The protocol with a part of its metrics, for a quick look: `only` these (all, if none is named), without those of
    `skip`, and without those that need `features`. The gate's metric always stays. Capitals do not matter in `only` and
    `skip`. UsageError for an unknown name."""
    names = [one.name for one in protocol.metrics]
    known = {name.casefold() for name in names}
    unknown = [name for name in (*only, *skip) if name.casefold() not in known]
    if unknown:
        raise UsageError(
            f"protocol {protocol.name} has no metric {', '.join(unknown)}", fix=f"choose of: {', '.join(names)}"
        )
    left_out = {name.casefold() for name in skip}
    if both := [name for name in only if name.casefold() in left_out]:
        raise UsageError(f"{', '.join(sorted(both))}: asked for and left out", fix="give either --only or --skip")
    chosen = {name.casefold() for name in only or names} - left_out
    kept = tuple(
        one
        for one in protocol.metrics
        if one.name == protocol.gate.metric or (one.name.casefold() in chosen and (features or one.features is None))
    )
    return msgspec.structs.replace(protocol, metrics=kept)


def evaluate_folder(
    folder: Path, benchmark: Benchmark, reporter: Reporter, *, slug: str, keep: bool
) -> tuple[Record, Path | None]:
    """Score a folder of outputs: `<case>.png` for every case of the benchmark's data, and for all of its further
    slices or none: without them there are no values that need them.

    The outputs pass the same checks and get the same scores as a container's; the record says `self_reported` and
    never ranks. With `keep` it is written under `slug` and the board rebuilt. Returns the record and its folder.
    OutputsError lists everything that is wrong with the folder.
    """
    outputs, further = output_files(folder, benchmark.dataset), benchmark.dataset.further
    if further and len(outputs) == len(benchmark.dataset.cases):
        reporter.note(
            f"{folder} holds no outputs of the {len(further)} further slices ({further[0].name}, ...), so it gets no "
            "values of lesions, of the error's parts or without truth; harness ci inputs writes the noisy slices"
        )
    noisy = read_slices({one.name: one.lq for one in benchmark.dataset.shown if one.name in outputs})
    sizes = {name: (one.shape[0], one.shape[1]) for name, one in noisy.items()}
    found = read_folder(folder, sizes=sizes, bits=benchmark.dataset.bits, note=reporter.note)
    pixels = pixels_of(found)
    names = [case.name for case in benchmark.dataset.cases]
    both = ([images[name] for name in names] for images in (noisy, pixels))
    for line in find_slips(*both, window_hu=benchmark.dataset.window_hu):
        reporter.note(f"looks wrong: {line}")
    with reporter.stage("score") as progress:
        card = score_outputs(outputs, benchmark, progress)
    digest = digest_outputs(pixels)
    facts = SubmissionFacts(
        slug=slug, name=slug, version="self-reported", authors=(), digest=digest, family=(), anchor=False
    )
    result = result_of(facts, benchmark, card, outputs=digest, self_reported=True)
    record = make_record(result, observed_without_engine(benchmark.protocol))
    if not keep:
        return record, None
    attachments = attachment_files(benchmark.protocol, benchmark.dataset, benchmark.labels, outputs, card)
    kept = keep_record(record, attachments, benchmark)
    write_board(benchmark.leaderboard)
    return kept.record, kept.folder
