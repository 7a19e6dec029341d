"""What a batch says of each run."""

from __future__ import annotations

import json
from subprocess import CompletedProcess

from harness.cli.batch import _outcome
from harness.cli.outcomes import outcome


def test_a_row_begins_with_the_submission_however_its_run_ended() -> None:
    own = outcome("tv", status=0, text="scored", record="0123456789abcdef")
    written = json.dumps([own], sort_keys=True)
    done = _outcome("tv", CompletedProcess([], 0, written, ""), seconds=3.2)
    failed = _outcome("tv", CompletedProcess([], 2, "", "error: no"), seconds=3.2)
    assert done == own | {"s": 3}
    assert list(done) == list(failed) == list(own)
