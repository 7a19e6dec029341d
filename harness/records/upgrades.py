"""Upgrades: records of older schemas, brought up to date in memory.

Their id is the digest of their result as it was written (`harness.records.encoding` verifies it first); they keep it.
"""

from __future__ import annotations

from typing import Any


def upgraded(raw: dict[str, Any]) -> dict[str, Any]:
    """A record as plain data in the present schema; what was unknown when it was written stays unknown."""
    result = raw["result"]
    while (upgrade := UPGRADES.get(result.get("schema"))) is not None:
        upgrade(result)
    return raw


def _upgrade_1(result: dict[str, Any]) -> None:
    """2: values have a unit, and the values without each patient that paired differences are made from."""
    for table in (result["metrics"], result["truth"] or {}):
        for regions in table.values():
            for value in regions.values():
                value |= {"unit": "", "without": {}}
    result["schema"] = 2


def _upgrade_2(result: dict[str, Any]) -> None:
    """3: whether outputs were handed in, and each metric's implementation, whose defaults say that it is unknown."""
    result["schema"] = 3


def _upgrade_3(result: dict[str, Any]) -> None:
    """4: the id is that of the result's identity, no more the digest of its values; the result holds the same."""
    result["schema"] = 4


UPGRADES = {1: _upgrade_1, 2: _upgrade_2, 3: _upgrade_3}
"""Schema of a result -> what makes it one of the next."""
