from __future__ import annotations

import msgspec

from harness.pipeline.prepare import default_note
from harness.protocol import Purify, RankBy, load_protocol


def test_what_the_default_recipe_means_is_said() -> None:
    protocol = load_protocol("phantom-mini")
    assert default_note(protocol) == ""
    default = msgspec.structs.replace(protocol, purify=Purify())
    assert "weak_denoiser nlm" in default_note(default)
    assert "does not rank" not in default_note(default)
    by_label = msgspec.structs.replace(default, rank_by=RankBy(metric="RMSE"))
    assert "family nlm is circular, and does not rank" in default_note(by_label)
