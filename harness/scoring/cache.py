"""The cache of scorecards: the same outputs are scored once, and their scores kept under all that they depend on."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import msgspec

from harness.base.code_digest import PURE, digest_code
from harness.base.digests import digest_bytes, digest_file, digest_json
from harness.base.files import cache_root, write_bytes
from harness.base.progress import Progress
from harness.dataset.cases import Dataset
from harness.features import LazyExtractors
from harness.labels.label_set import LabelSet
from harness.protocol import Protocol
from harness.scoring.score import Scorecard, score

LIBRARIES = ("numpy", "scipy", "opencv-python-headless", "torch")
"""Whose arithmetic scores are made of: another version may round otherwise."""

_DIGEST = 64  # bytes: a SHA-256 in hex, which stands before the scorecard in its file


def score_once(
    outputs: Mapping[str, Path],
    dataset: Dataset,
    labels: LabelSet,
    protocol: Protocol,
    *,
    extractors: LazyExtractors,
    device: str,
    progress: Progress | None = None,
) -> Scorecard:
    """`score` of these outputs, from the cache where they were scored before with the same data, labels, protocol,
    weights, device, code and libraries; a damaged file there is replaced. `device` is that of the extractors."""
    cached = _file(outputs, dataset, labels, protocol, extractors=extractors, device=device)
    card = _read(cached)
    if card is None:
        card = score(outputs, dataset, labels, protocol, extractors=extractors, progress=progress)
        packed = msgspec.msgpack.encode(card)
        write_bytes(cached, digest_bytes(packed).encode() + packed)
    elif progress:
        progress(1, 1)
    return card


def _file(
    outputs: Mapping[str, Path],
    dataset: Dataset,
    labels: LabelSet,
    protocol: Protocol,
    *,
    extractors: LazyExtractors,
    device: str,
) -> Path:
    key = digest_json(
        {
            "outputs": {name: digest_file(path) for name, path in outputs.items()},
            "data": dataset.digest,
            "further": {one.name: (one.of, one.kind, digest_file(Path(one.lq))) for one in dataset.further},
            "labels": labels.digest,
            "protocol": protocol.digest,
            "weights": extractors.weights,
            "device": device,
            "code": digest_code("harness.scoring", *PURE),
            "libraries": [version(name) for name in LIBRARIES],
        }
    )
    return cache_root() / "scores" / f"{key[:20]}.card"


def _read(path: Path) -> Scorecard | None:
    """The scorecard in a file; None where that is missing or damaged."""
    try:
        found = path.read_bytes()
        if found[:_DIGEST] == digest_bytes(found[_DIGEST:]).encode():
            return msgspec.msgpack.decode(found[_DIGEST:], type=Scorecard)
    except (OSError, msgspec.MsgspecError):
        pass
    return None
