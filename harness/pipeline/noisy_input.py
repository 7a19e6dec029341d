"""The noisy input's own scores, beside which a submission's mean something."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.base.code_digest import PURE, digest_code
from harness.base.digests import digest_json
from harness.base.errors import UsageError
from harness.base.files import cache_root
from harness.base.progress import Reporter
from harness.base.structs import read_json, write_json
from harness.pipeline.prepare import Benchmark
from harness.pipeline.result import score_outputs
from harness.records.schema import SIGNIFICANT_DIGITS, rounded
from harness.records.store import read_record
from harness.scoring.values import Table
from harness.submission.manifest import NOISY_INPUT


def noisy_scores(benchmark: Benchmark, reporter: Reporter) -> dict[str, Table]:
    """The tables that a submission would have whose outputs are its inputs, by their names in a record
    (`harness.records.schema.Result.tables`): those of the leaderboard's reference row if it has one, else scored once
    and then taken from the cache."""
    if (known := _reference_row(benchmark)) is not None:
        return known
    key = digest_json(
        {
            "data": benchmark.dataset.digest,
            "labels": benchmark.labels.digest,
            "protocol": benchmark.protocol.digest,
            "further": [one.name for one in benchmark.dataset.further],
            "extractors": {one.name: one.digest for one in benchmark.extractors},
            "digits": SIGNIFICANT_DIGITS,
            "code": digest_code("harness.scoring", *PURE),
        }
    )
    cached = cache_root() / "noisy" / f"{key[:20]}.json"
    try:
        return read_json(cached, dict[str, Table])
    except UsageError:  # not there yet, or damaged
        pass
    with reporter.stage("noisy input") as progress:
        card = score_outputs({one.name: Path(one.lq) for one in benchmark.dataset.shown}, benchmark, progress)
    # as a record holds them: the input's difference from itself is 0
    tables = msgspec.convert(rounded(msgspec.to_builtins(card.tables)), dict[str, Table])
    write_json(cached, tables)
    return tables


def _reference_row(benchmark: Benchmark) -> dict[str, Table] | None:
    """The tables of the noisy input's record on the leaderboard, if it was scored as this benchmark scores."""
    weights = {one.name: one.digest for one in benchmark.extractors}
    wanted = (benchmark.protocol.digest, benchmark.dataset.digest, benchmark.labels.digest, weights)
    of_protocol = benchmark.leaderboard / "records" / benchmark.protocol.identity
    for path in sorted(of_protocol.glob(f"{NOISY_INPUT}/*/record.json")):
        result = read_record(path.parent).result
        theirs = {name: facts.weights for name, facts in result.extractors.items()}
        if (result.protocol.digest, result.data, result.labels, theirs) == wanted:
            return result.tables
    return None
