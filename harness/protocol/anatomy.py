"""What has a meaning in the anatomy that a protocol states: its regions, its labels, its data."""

from __future__ import annotations

from collections.abc import Sequence

from harness.imaging.anatomy import ANATOMIES, Anatomy
from harness.imaging.blend import STRATEGIES, StrategyName
from harness.imaging.regions import Region
from harness.protocol.data import Data, PhantomData


def check_anatomy(anatomy: Anatomy, regions: Sequence[Region], strategy: StrategyName, data: Data) -> None:
    """ValueError for regions, a label recipe or data that mean nothing in an anatomy."""
    recipe, phantom = ANATOMIES[anatomy], isinstance(data, PhantomData)
    if phantom and anatomy != "chest":
        raise ValueError(f"anatomy is {anatomy}, but data of source phantom show a chest: give scans or a folder")
    without = [region for region in regions if region not in recipe.regions]
    if without:
        raise ValueError(
            f"anatomy {anatomy} has no region {', '.join(without)}: name regions among {', '.join(recipe.regions)}"
        )
    purifies = STRATEGIES[strategy].purifies
    if purifies and recipe.dark_organ is None:
        raise ValueError(
            f"purify.strategy is {strategy}, but anatomy {anatomy} has no dark organ: purification keeps the low-dose "
            "slice where both slices are dark, which is the lung in a chest, and here nothing but gas; set "
            "purify: {strategy: none}, whose label is the normal-dose slice, of pairs that show one plane "
            "(docs/anatomy.md)"
        )
    if not purifies and phantom:
        raise ValueError(
            f"purify.strategy is {strategy}, whose label is the normal-dose slice, but the phantom breathes between "
            "its two scans: choose a strategy that purifies"
        )
