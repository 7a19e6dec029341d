"""Protocol -> data, labels and all else that scoring needs, in one value."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from harness.base.errors import SubmissionError, UsageError
from harness.base.files import refuse_unwritable
from harness.base.progress import Reporter
from harness.base.structs import Strict
from harness.base.text import first_few
from harness.dataset.cases import Dataset
from harness.engines import Engine
from harness.labels.label_set import LabelSet, build_labels
from harness.pipeline.data import prepare_data, refuse_training_set
from harness.pipeline.engine import connect_with_base
from harness.protocol import Protocol, Purify
from harness.records.signing import signing_key
from harness.records.store import keep_protocol, protocol_file
from harness.run.context import refuse_unordered
from harness.run.execute import run_submission
from harness.scoring.coupled import check_ranked
from harness.scoring.lesions import check_sites
from harness.scoring.score import load_extractors
from harness.submission.manifest import load_submission

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from harness.features import LazyExtractors


class LabelledData(Strict, frozen=True, kw_only=True):
    """A protocol's test set and its purified labels."""

    protocol: Protocol
    dataset: Dataset
    labels: LabelSet
    weak_outputs: Mapping[str, Path] | None  # case -> PNG, where a submission is the weak denoiser


class Benchmark(LabelledData, frozen=True, kw_only=True):
    """A protocol, ready to score outputs and to write their records below `leaderboard`."""

    extractors: LazyExtractors
    feature_device: str
    leaderboard: Path
    signing_key: Ed25519PrivateKey | None  # signs new records; None leaves them unsigned


def prepare(
    protocol: Protocol,
    reporter: Reporter,
    *,
    leaderboard: Path,
    engine: Engine | None = None,
    feature_device: str = "cpu",
    writes: bool = True,
) -> Benchmark:
    """Data, labels and extractors of a protocol, built or taken from the cache, and the organiser's key.

    Before anything is computed UsageError tells of a training set, of missing weights and, if records are to be written
    (`writes`), of an unusable key, of a leaderboard that cannot be written to, and of one with records of another
    protocol under this name and version; ScoringError tells of data with too few lesions to measure, or too clipped
    for the error that the protocol ranks by. `leaderboard` may hold a disclosed secret. For `engine`: `prepare_labels`.
    """
    refuse_training_set(protocol)
    if writes:
        refuse_unwritable(leaderboard)
    key = signing_key(os.environ) if writes else None
    if writes and protocol_file(leaderboard, protocol.name, protocol.version).is_file():
        protocol = keep_protocol(leaderboard, protocol)  # refuses another text of the same version
    extractors = load_extractors(protocol, device=feature_device)
    data = prepare_labels(protocol, reporter, leaderboard=leaderboard, engine=engine)
    if data.dataset.lesions:
        check_sites(data.dataset)
    check_ranked(data.dataset, data.labels, protocol)
    return Benchmark(
        protocol=protocol,
        dataset=data.dataset,
        labels=data.labels,
        weak_outputs=data.weak_outputs,
        extractors=extractors,
        feature_device=feature_device,
        leaderboard=leaderboard,
        signing_key=key,
    )


def prepare_labels(
    protocol: Protocol, reporter: Reporter, *, leaderboard: Path, engine: Engine | None = None
) -> LabelledData:
    """Test set and purified labels of a protocol, built or taken from the cache.

    Where the weak denoiser is a submission its container runs first, on `engine` or else on the one that
    HARNESS_ENGINE names.
    """
    dataset = prepare_data(protocol, reporter, leaderboard=leaderboard)
    if said := default_note(protocol):
        reporter.note(said)
    weak_outputs = _weak_outputs(protocol, dataset, reporter, engine)
    with reporter.stage("labels") as progress:
        labels = build_labels(
            dataset,
            protocol.purify,
            anatomy=protocol.anatomy,
            weak_outputs=weak_outputs,
            official=protocol.official_labels,
            progress=progress,
        )
    for line in (*labels.notes, *first_few([f"label of {line}" for line in labels.implausible])):
        reporter.note(line)
    return LabelledData(protocol=protocol, dataset=dataset, labels=labels, weak_outputs=weak_outputs)


def default_note(protocol: Protocol) -> str:
    """What it means that a protocol leaves `purify` at its default; "" where it does not."""
    purify = protocol.purify
    if purify != Purify():
        return ""
    judged = "by labels that it helped to make"
    ranks = (
        f", and does not rank: it would be judged {judged}" if protocol.rank_by.reference == "label" else f" {judged}"
    )
    return (
        f"purify is the default (strategy {purify.strategy}, variant {purify.variant}, weak_denoiser "
        f"{purify.weak_denoiser}): a submission of the family {purify.weak_denoiser} is circular{ranks}"
    )


def _weak_outputs(
    protocol: Protocol, dataset: Dataset, reporter: Reporter, engine: Engine | None
) -> dict[str, Path] | None:
    """Outputs of the submission that is the weak denoiser; None where no submission is."""
    folder = protocol.purify.weak_submission
    if folder is None or not protocol.purify.removes_noise:
        return None
    weak = load_submission(folder)
    refuse_unordered(weak.manifest.context, dataset, protocol=protocol.identity)
    # no label is made from a further slice, so none need be shown
    cases_alone = msgspec.structs.replace(dataset, further=())
    connection = connect_with_base(reporter) if engine is None else nullcontext(engine)
    with connection as connected, reporter.stage("weak") as progress:
        try:
            run = run_submission(
                weak, cases_alone, protocol.limits, seed=protocol.seed, engine=connected, progress=progress
            )
        except SubmissionError as error:
            raise UsageError(
                f"the weak denoiser {folder} failed at stage {error.stage}: {error.message}",
                fix="repair that submission, or choose another purify.weak_denoiser",
            ) from error
    return {name: Path(path) for name, path in run.outputs.items()}
