from __future__ import annotations

from tests.docs.reference import CONTRACT, PROTOCOLS, documents


def test_the_reference_is_what_the_types_say() -> None:
    for path, text in documents().items():
        assert path.read_text() == text, f"{path.name}: stale; python tests/docs/reference.py writes it anew"


def test_every_key_is_told_with_its_bounds_and_its_default() -> None:
    text = PROTOCOLS.read_text()
    assert "| `dose` | number, > 0, ≤ 1 | `0.02` | of the low-dose scan, as a share of the normal dose |" in text
    assert "| `rank_by` | [RankBy](#rankby) | **required** |" in text
    assert "| `authors` | list of: text, at most 200 characters | **required** |" in CONTRACT.read_text()
