from __future__ import annotations

import re

from tests.docs.reference import CONTRACT, PROTOCOLS, documents


def test_the_reference_is_what_the_types_say() -> None:
    for path, text in documents().items():
        assert path.read_text() == text, f"{path.name}: stale; python tests/docs/reference.py writes it anew"


def test_every_key_is_told_with_its_bounds_and_its_default() -> None:
    text = PROTOCOLS.read_text()
    assert "| `dose` | number, > 0, ≤ 1 | `0.02` | of the low-dose scan, as a share of the normal dose |" in text
    assert "| `rank_by` | [RankBy](#rankby) | **required** |" in text
    assert "| `authors` | list of: text, at most 200 characters | **required** |" in CONTRACT.read_text()


def test_every_type_that_a_table_names_has_a_section() -> None:
    for text in documents().values():
        linked = re.findall(r"\[(\w+)\]\(#(\w+)\)", text)
        assert linked
        for name, anchor in linked:
            assert anchor == name.lower()
            assert re.search(rf"^##+ {name}$", text, re.MULTILINE), f"no section {name}"
