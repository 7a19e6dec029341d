from __future__ import annotations

import pytest

from harness.base.text import first_few, shortened


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, []), (2, ["0", "1"]), (3, ["0", "1", "2"]), (4, ["0", "1", "2", "and 1 more"])],
)
def test_long_lists_end_in_how_many_more_there_are(count: int, expected: list[str]) -> None:
    assert first_few([str(number) for number in range(count)], at_most=3) == expected


def test_long_texts_end_in_dots_within_their_bound() -> None:
    assert shortened("x" * 10, 10) == "x" * 10
    assert shortened("x" * 11, 10) == "x" * 7 + "..."
