from __future__ import annotations

import pytest

from harness.base.text import figures, first_few, shortened


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, []), (2, ["0", "1"]), (3, ["0", "1", "2"]), (4, ["0", "1", "2", "and 1 more"])],
)
def test_long_lists_end_in_how_many_more_there_are(count: int, expected: list[str]) -> None:
    assert first_few([str(number) for number in range(count)], at_most=3) == expected


def test_long_texts_end_in_dots_within_their_bound() -> None:
    assert shortened("x" * 10, 10) == "x" * 10
    assert shortened("x" * 11, 10) == "x" * 7 + "..."


@pytest.mark.parametrize(
    ("value", "digits", "sign", "expected"),
    [
        (112.4, 2, False, "112"),
        (99.6, 2, False, "100"),
        (-1234.5, 3, True, "-1234"),
        (0.0123, 2, True, "+0.012"),
        (9.94, 2, False, "9.9"),
        (0.0, 2, True, "+0"),
    ],
)
def test_large_numbers_are_written_out(value: float, digits: int, sign: bool, expected: str) -> None:
    assert figures(value, digits, sign=sign) == expected
