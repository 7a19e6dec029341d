"""The pipeline: protocol -> data -> labels -> submission -> run -> outputs -> score -> record -> board."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import UNSET

from harness.base.digests import digest_json
from harness.base.errors import OutputsError, SubmissionError, UsageError
from harness.base.progress import Reporter
from harness.base.slices import read_grey
from harness.base.structs import Strict, canonical_json, read_json
from harness.board.build import write_board
from harness.dataset.cases import Dataset
from harness.dataset.load import load_data
from harness.engines import Engine, connect
from harness.labels.label_set import LabelSet, build_labels
from harness.labels.quality_report import Audit
from harness.labels.quality_report import audit as audit_label_sets
from harness.pipeline.attempt import Attempt, attempt
from harness.protocol import Protocol
from harness.records.attachments import open_store
from harness.records.observe import observe
from harness.records.schema import Failure, Observed, Record, Result, SubmissionFacts, make_record, protocol_facts
from harness.records.signing import signing_key
from harness.records.slice_table import write_slices
from harness.records.store import keep_protocol, read_record, write_record
from harness.run.execute import Run, cached_outputs, digest_outputs, run_submission
from harness.run.outputs import read_folder
from harness.run.untrusted_png import pixels_of
from harness.scoring.anchors import anchors_of, make_anchor
from harness.scoring.attachment_names import FEATURES, SLICES, SPECTRA
from harness.scoring.pictures import make_pictures
from harness.scoring.score import Scorecard, load_extractors, score
from harness.submission.manifest import ANCHOR_PREFIX, Submission, load_submission
from harness.submission.overlap import refuse_test_slices

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from harness.features import Extractor
    from harness.reference_check.check import Check


NOTED_AT_MOST = 8  # labels that do not look right, by name


class Evaluation(Strict, frozen=True, kw_only=True):
    """A finished evaluation: its record, where it lies, whether it is new, and the run, if it came to its end here."""

    record: Record
    folder: str
    new: bool
    run: Run | None = None


def prepare(
    protocol: Protocol, reporter: Reporter, *, leaderboard: Path, engine: Engine | None = None
) -> tuple[Dataset, LabelSet]:
    """Test set and purified labels of a protocol, built or found in the cache; its secret may lie in `leaderboard`.

    Where the weak denoiser is a submission its container runs first, on `engine` or on the one that is here.
    """
    with reporter.stage("data") as progress:
        dataset = load_data(protocol, leaderboard=leaderboard, progress=progress)
    weak_outputs = _weak_outputs(protocol, dataset, reporter, engine)
    with reporter.stage("labels") as progress:
        labels = build_labels(dataset, protocol.purify, weak_outputs=weak_outputs, progress=progress)
    for line in labels.implausible[:NOTED_AT_MOST]:
        reporter.note(f"label of {line}")
    if len(labels.implausible) > NOTED_AT_MOST:
        reporter.note(f"and {len(labels.implausible) - NOTED_AT_MOST} more labels that do not look right")
    return dataset, labels


def _weak_outputs(
    protocol: Protocol, dataset: Dataset, reporter: Reporter, engine: Engine | None
) -> dict[str, Path] | None:
    """Outputs of the submission that is the weak denoiser; None where none is needed."""
    folder = protocol.purify.weak_submission
    if folder is None or not protocol.purify.removes_noise:
        return None
    weak = load_submission(folder)
    with connect() if engine is None else nullcontext(engine) as found, reporter.stage("weak") as progress:
        try:
            run = run_submission(weak, dataset, protocol.limits, seed=protocol.seed, engine=found, progress=progress)
        except SubmissionError as error:
            raise UsageError(
                f"the weak denoiser {folder} failed at stage {error.stage}: {error.message}",
                fix="mend that submission, or choose another purify.weak_denoiser",
            ) from error
    return {name: Path(path) for name, path in run.outputs.items()}


def evaluate(
    submission: Submission,
    protocol: Protocol,
    *,
    leaderboard: Path,
    engine: Engine,
    reporter: Reporter,
    feature_device: str = "cpu",
    fresh: bool = False,
    share: tuple[int, int] = (0, 1),
    repeat: int = 1,
) -> Evaluation:
    """Run a submission on a protocol, score it, write its record and rebuild the board.

    A submission that fails gets a failed record (`record.result.failure`). Errors of the machine, the protocol or the
    scoring are raised and leave none, since they say nothing about the submission; so is a training set that holds
    slices of the test set. `share` is the part that this run
    has of how many side by side on the engine's machine. The container runs `repeat` times, and what differs is noted.
    """
    key = signing_key(os.environ)  # a wrong one is told before anything runs
    keep_protocol(leaderboard, protocol)
    extractors = load_extractors(protocol, device=feature_device)
    dataset, labels = prepare(protocol, reporter, leaderboard=leaderboard, engine=engine)
    refuse_test_slices(submission, dataset)
    tried, run = attempt(
        submission, dataset, protocol, engine=engine, reporter=reporter, fresh=fresh, share=share, repeat=repeat
    )
    outputs = {name: Path(path) for name, path in run.outputs.items()} if run else {}
    evaluation = conclude(
        tried,
        outputs,
        protocol,
        dataset,
        labels,
        extractors=extractors,
        leaderboard=leaderboard,
        reporter=reporter,
        key=key,
    )
    return msgspec.structs.replace(evaluation, run=run)


def conclude(
    tried: Attempt,
    outputs: Mapping[str, Path],
    protocol: Protocol,
    dataset: Dataset,
    labels: LabelSet,
    *,
    extractors: Sequence[Extractor],
    leaderboard: Path,
    reporter: Reporter,
    key: Ed25519PrivateKey | None,
) -> Evaluation:
    """Score the verified `outputs` of an attempt (none if it failed), write its record and rebuild the board."""
    card: Scorecard | None = None
    attachments: dict[str, bytes] = {}
    if tried.failure is None:
        with reporter.stage("score") as progress:
            card = score(outputs, dataset, labels, protocol, extractors=extractors, progress=progress)
        attachments = _attachments(protocol, dataset, labels, outputs, card)
    result = _result(tried.submission, protocol, dataset, labels, card, failure=tried.failure)
    result = msgspec.structs.replace(result, outputs=tried.outputs, device=tried.device)
    record = make_record(result, tried.observed)
    folder, new = write_record(leaderboard, record, attachments, key=key)
    write_board(leaderboard)
    return Evaluation(record=record, folder=str(folder), new=new)


def evaluate_anchors(
    protocol: Protocol, *, leaderboard: Path, reporter: Reporter, feature_device: str = "cpu"
) -> list[Record]:
    """Score the reference rows of a protocol, write their records and rebuild the board.

    No container runs, unless the protocol's weak denoiser is a submission.
    """
    key = signing_key(os.environ)  # a wrong one is told before anything runs
    keep_protocol(leaderboard, protocol)
    extractors = load_extractors(protocol, device=feature_device)
    dataset, labels = prepare(protocol, reporter, leaderboard=leaderboard)
    weak_outputs = _weak_outputs(protocol, dataset, reporter, None)
    records = []
    for anchor in anchors_of(dataset, protocol.purify):
        with reporter.stage(anchor.slug) as progress, TemporaryDirectory() as folder:
            outputs = make_anchor(anchor, dataset, protocol.purify, Path(folder), weak_outputs=weak_outputs)
            card = score(outputs, dataset, labels, protocol, extractors=extractors, progress=progress)
            facts = SubmissionFacts(
                slug=anchor.slug,
                name=anchor.name,
                version="1",
                authors=("the harness",),
                digest=digest_json(anchor),
                family=(),
                anchor=True,
            )
            result = msgspec.structs.replace(
                _result(facts, protocol, dataset, labels, card), outputs=_digest_images(outputs), device="cpu"
            )
            record = make_record(result, _without_engine(protocol))
            attachments = _attachments(protocol, dataset, labels, outputs, card)
            del attachments[FEATURES]  # anyone can make these images, and features weigh most of a record
            write_record(leaderboard, record, attachments, key=key)
            records.append(record)
    write_board(leaderboard)
    return records


def evaluate_folder(
    folder: Path,
    protocol: Protocol,
    *,
    reporter: Reporter,
    leaderboard: Path,
    slug: str,
    keep: bool,
    feature_device: str = "cpu",
) -> tuple[Record, Path | None]:
    """Score outputs that somebody made elsewhere: `<case>.png` for every case of the protocol's data.

    The same checks and scores as of a container's outputs; the record says `self_reported` and never ranks. With
    `keep` it is written under `slug` and the board rebuilt. Returns the record and its folder.
    OutputsError says everything that is wrong with the folder.
    """
    key = signing_key(os.environ)
    if keep:
        keep_protocol(leaderboard, protocol)
    extractors = load_extractors(protocol, device=feature_device)
    dataset, labels = prepare(protocol, reporter, leaderboard=leaderboard)
    sizes = {case.name: read_grey(Path(case.lq)).shape for case in dataset.cases}
    found = read_folder(folder, sizes={name: (height, width) for name, (height, width) in sizes.items()})
    outputs = {name: folder / f"{name}.png" for name in found}
    with reporter.stage("score") as progress:
        card = score(outputs, dataset, labels, protocol, extractors=extractors, progress=progress)
    digest = digest_outputs(pixels_of(found))
    facts = SubmissionFacts(
        slug=slug, name=slug, version="self-reported", authors=(), digest=digest, family=(), anchor=False
    )
    result = _result(facts, protocol, dataset, labels, card)
    record = make_record(msgspec.structs.replace(result, outputs=digest, self_reported=True), _without_engine(protocol))
    if not keep:
        return record, None
    attachments = _attachments(protocol, dataset, labels, outputs, card)
    written, _ = write_record(leaderboard, record, attachments, key=key)
    write_board(leaderboard)
    return record, written


def audit(folder: Path, reporter: Reporter, *, outputs: Path | None = None) -> list[Check]:
    """Recompute a record's values with the reference tools (`harness.reference_check`).

    `outputs` is a folder of the outputs that the record tells of; without it those of a cached run of this machine are
    taken, an anchor's are made anew, and for others the record's own features have to do.
    """
    from harness.reference_check.check import audit_record

    record = read_record(folder)
    if record.result.status != "scored":
        raise UsageError(f"{folder}: a {record.result.status} record has no values", fix="audit a scored one")
    protocol = read_json(folder.parent.parent / "protocol.json", Protocol)
    extractors = load_extractors(protocol, device="cpu")
    leaderboard = folder.resolve().parents[3]
    dataset, labels = prepare(protocol, reporter, leaderboard=leaderboard)
    with TemporaryDirectory() as made:
        images: Mapping[str, Path] | None
        if outputs is not None:
            images = {case.name: outputs / f"{case.name}.png" for case in dataset.cases}
        elif record.result.submission.anchor and record.observed.image is None:
            weak_outputs = _weak_outputs(protocol, dataset, reporter, None)
            anchor = next(
                one for one in anchors_of(dataset, protocol.purify) if one.slug == record.result.submission.slug
            )
            images = make_anchor(anchor, dataset, protocol.purify, Path(made), weak_outputs=weak_outputs)
        else:
            images = cached_outputs(dataset, str(record.result.outputs))
        with reporter.stage("audit") as progress:
            return audit_record(
                record,
                folder,
                protocol,
                dataset,
                labels,
                extractors=extractors,
                outputs=images,
                store=open_store(leaderboard),
                progress=progress,
            )


def _digest_images(outputs: Mapping[str, Path]) -> str:
    return digest_outputs({name: read_grey(path) for name, path in outputs.items()})


def _without_engine(protocol: Protocol) -> Observed:
    """The circumstances of scores that no container was run for."""
    return observe(engine="none", image=None, limits=protocol.limits, lowered=())


def audit_labels(protocol: Protocol, dataset: Dataset, reporter: Reporter) -> Audit:
    """Whether a protocol's labels are any good, and what other weak denoisers would make of them.

    The battery is ranked by the error in the lung and by what the protocol ranks by.
    """
    purify, by = protocol.purify, protocol.rank_by
    metric = next(one for one in protocol.metrics if one.name == by.metric)
    extractor = next((one for one in load_extractors(protocol, device="cpu") if one.name == metric.features), None)
    weak_outputs = _weak_outputs(protocol, dataset, reporter, None)
    with reporter.stage("audit") as progress:
        return audit_label_sets(
            dataset,
            purify,
            outputs=None if weak_outputs is None else {purify.weak_denoiser: weak_outputs},
            metric=metric,
            region=by.region,
            extractor=extractor,
            progress=progress,
        )


def _result(
    submission: SubmissionFacts,
    protocol: Protocol,
    dataset: Dataset,
    labels: LabelSet,
    card: Scorecard | None,
    *,
    failure: Failure | None = None,
) -> Result:
    """What was scored (`card`) or how it failed."""
    status: Literal["scored", "failed", "invalid"] = "scored"
    if failure is not None:
        status = "invalid" if failure.code == OutputsError.code else "failed"
    return Result(
        status=status,
        failure=failure,
        protocol=protocol_facts(protocol),
        data=dataset.digest,
        labels=labels.digest,
        submission=submission,
        seed=protocol.seed,
        extractors=card.extractors if card else {},
        implementations=card.implementations if card else {},
        metrics=card.label if card else {},
        truth=card.truth if card else None,
        gate=card.gate if card else None,
        # the harness's own rows are answers by intent, and of any reference row it is known what it is
        flags=(card.flags if card and not submission.slug.startswith(ANCHOR_PREFIX) else ()) or UNSET,
        notes=(card.notes if card and not submission.anchor else ()) or UNSET,
    )


def _attachments(
    protocol: Protocol, dataset: Dataset, labels: LabelSet, outputs: Mapping[str, Path], card: Scorecard
) -> dict[str, bytes]:
    """The record's files: per-slice values and features for checking, and pictures where the protocol allows them."""
    files = {SLICES: write_slices(card.slices), FEATURES: card.features}
    if card.spectra:
        files[SPECTRA] = canonical_json(card.spectra)
    if protocol.publish.images:
        files |= make_pictures(dataset, labels, outputs, card, protocol.gate)
    return files
