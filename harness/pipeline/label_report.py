"""Labelled data -> how good the labels are, beside those that other weak denoisers would give."""

from __future__ import annotations

from harness.base.errors import UsageError
from harness.base.progress import Reporter
from harness.imaging.anatomy import ANATOMIES
from harness.labels.quality_report import QualityReport, assess_labels
from harness.pipeline.prepare import LabelledData
from harness.protocol import Protocol
from harness.scoring.score import load_extractors


def refuse_report(protocol: Protocol) -> None:
    """UsageError where no organ is purified, whose noise and anatomy the report could be about."""
    if ANATOMIES[protocol.anatomy].dark_organ is None:
        raise UsageError(
            f"protocol {protocol.name}: anatomy {protocol.anatomy} has no dark organ, and its labels are the "
            "normal-dose slices: there is no purification to report on",
            fix="leave out --report; docs/anatomy.md says what such labels are worth",
        )


def report_labels(data: LabelledData, reporter: Reporter) -> QualityReport:
    """The quality report on a protocol's labels and on those of the other weak denoisers.

    A battery of known denoisers is ranked by the error in the lung and, where the protocol ranks against the label, by
    what it ranks by: how far a label's ranking can be trusted is asked of what ranks against labels alone.
    """
    purify, rank_by = data.protocol.purify, data.protocol.rank_by
    by_label = rank_by.reference == "label"
    metric = next((one for one in data.protocol.metrics if by_label and one.name == rank_by.metric), None)
    extractors = load_extractors(data.protocol, device="cpu")
    with reporter.stage("audit") as progress:
        return assess_labels(
            data.dataset,
            purify,
            outputs=None if data.weak_outputs is None else {purify.weak_denoiser: data.weak_outputs},
            metric=metric,
            region=rank_by.region,
            extractor=next((one for one in extractors if metric is not None and one.name == metric.features), None),
            progress=progress,
        )
