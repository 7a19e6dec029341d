"""The quality line: shares counted by hand, and what it says of published and corrected masks."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from harness.imaging.blend import label
from harness.imaging.insertion import Scanner, insert_noise
from harness.imaging.lungs import corrected_masks
from harness.imaging.masks import common_mask, remove_background
from harness.imaging.quality import Quality, implausible, quality
from harness.imaging.regions import Code
from harness.phantom import PhantomSlice, View
from tests.imaging.thin_wall import cut_wall, scan

Image = NDArray[np.uint8]

_GOOD = Quality(mask_fraction=0.2, leftover_background=0, lost_lung=0.02, saturation=0, lung_fraction=0.3)


def _regions() -> Image:
    """40 x 40: four rows of padding, 16 rows of air, 20 rows of body; in them 10 x 20 of lung and 1 x 1 of nodule."""
    regions = np.full((40, 40), Code.AIR, np.uint8)
    regions[:4] = Code.PADDING
    regions[20:] = Code.BODY
    regions[25:35, 10:30] = Code.LUNG
    regions[30, 20] = Code.NODULE
    return regions


def _quality(mask: Image, purified: Image | None = None, low: Image | None = None) -> Quality:
    flat = np.full((40, 40), 100, np.uint8)
    return quality(
        mask,
        flat if purified is None else purified,
        low=flat if low is None else low,
        normal=flat,
        window_hu=None,
        pixel_mm=2,
        regions=_regions(),
    )


def test_shares_are_those_counted_by_hand() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[:6] = 255  # padding, and rows 4 and 5 of the air, 14 and 15 pixels above the body
    mask[25:35, 10:30] = 255
    mask[26, 10:30] = 0
    found = _quality(mask)
    assert found.mask_fraction == (2 * 40 + 9 * 20) / (36 * 40)
    # 10 mm are 5 pixels: rows 4 to 14 are further than that from row 20
    assert found.leftover_background == 2 / 11
    # the edge of 2 mm is 1 pixel: 8 x 18 of lung are left, row 26 is the first of them
    assert found.lost_lung == 1 / 8
    assert found.lung_fraction == 200 / 800
    assert found.saturation == 0


def test_only_new_clipping_inside_the_mask_counts() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[25:35, 10:30] = 254
    purified, low = (np.full((40, 40), 100, np.uint8) for _ in range(2))
    purified[25, 10:30] = 255  # 20 pixels clipped
    purified[26, 10:20] = 0  # 10 more
    purified[5] = 0  # outside the mask
    low[33, 10:22] = 0  # noise has clipped 12 others before
    assert _quality(mask, purified, low).saturation == (30 - 12) / (36 * 40)
    assert _quality(mask, low, low).saturation == 0


def test_an_image_of_padding_has_no_shares() -> None:
    empty = np.zeros((8, 8), np.uint8)
    found = quality(empty, empty, low=empty, normal=empty, window_hu=None, pixel_mm=1, regions=empty)
    assert msgspec.structs.astuple(found) == (0, 0, 0, 0, 0)


def test_shapes_must_agree() -> None:
    one, other = np.zeros((8, 8), np.uint8), np.zeros((8, 9), np.uint8)
    with pytest.raises(ValueError, match="shapes differ"):
        quality(one, one, low=one, normal=other, window_hu=None, pixel_mm=1)


@given(arrays(np.uint8, (40, 40)), arrays(np.uint8, (40, 40)), arrays(np.uint8, (40, 40)))
def test_shares_lie_between_0_and_1(mask: Image, purified: Image, low: Image) -> None:
    for share in msgspec.structs.astuple(_quality(mask, purified, low)):
        assert 0 <= share <= 1


@given(arrays(np.bool_, (40, 40)), arrays(np.bool_, (40, 40)))
def test_a_larger_mask_leaves_more_background_and_loses_less_lung(
    one: NDArray[np.bool_], more: NDArray[np.bool_]
) -> None:
    small, large = (_quality((mask * 255).astype(np.uint8)) for mask in (one, one | more))
    assert small.leftover_background <= large.leftover_background
    assert small.lost_lung >= large.lost_lung


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"leftover_background": 0.42}, "42.0% of the background is still in the mask (at most 1%)"),
        ({"lost_lung": 0.5}, "50.0% of the lung is not in the mask (at most 10%)"),
        ({"saturation": 0.03}, "3.0% of the field of view is clipped at grey 0 or 255 (at most 1%)"),
        ({"lung_fraction": 0.0}, "no lung found: 0.0% of the body (at least 0.5%)"),
    ],
)
def test_each_fault_is_named_in_plain_words(change: dict[str, float], reason: str) -> None:
    assert implausible(_GOOD) == []
    (found,) = implausible(msgspec.structs.replace(_GOOD, **change))
    assert found.startswith(reason)


def test_background_is_no_fault_where_it_is_kept_on_purpose() -> None:
    assert implausible(msgspec.structs.replace(_GOOD, leftover_background=0.97), background_removed=False) == []


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_worse_slice_has_no_fewer_reasons(one: float, other: float) -> None:
    better, worse = sorted((one, other))
    counts = [len(implausible(msgspec.structs.replace(_GOOD, lost_lung=share))) for share in (better, worse)]
    assert counts[0] <= counts[1]


def _of_label(pair: PhantomSlice, mask: Image) -> Quality:
    return quality(
        mask,
        label("rb", mask, low=pair.lq, normal=pair.gt),
        low=pair.lq,
        normal=pair.gt,
        window_hu=pair.window_hu,
        pixel_mm=pair.pixel_mm,
    )


@pytest.mark.parametrize("view", ["tight", "table-across", "closed-cavity"])
def test_published_background_is_named_and_corrected_slices_pass(view: View) -> None:
    pair = scan(0, 0.5, view)
    published = remove_background(common_mask(pair.lq, pair.gt))
    corrected = corrected_masks(pair.lq, pair.gt, window_hu=pair.window_hu, pixel_mm=pair.pixel_mm).lungs
    (reason,) = implausible(_of_label(pair, published))
    assert "of the background is still in the mask" in reason
    assert implausible(_of_label(pair, corrected)) == []


@pytest.mark.parametrize("gap_mm", [6, 30])
def test_a_lung_that_leaked_out_is_named_lost(gap_mm: float) -> None:
    """Also where the gap is too wide for the segmentation to seal."""
    pair = cut_wall(scan(0, 0.5, "full", 512), wall_mm=5, gap_mm=gap_mm)
    (reason,) = implausible(_of_label(pair, remove_background(common_mask(pair.lq, pair.gt))))
    assert "of the lung is not in the mask" in reason


def test_noise_inserted_at_two_percent_dose_does_not_clip_beyond_the_bound() -> None:
    pair = scan(1, 0.25, "full")
    scanner = Scanner(photons=2e5, electronic=4, kernel="sharp")
    rng = np.random.default_rng(0)
    noisy = insert_noise(pair.gt, window_hu=pair.window_hu, pixel_mm=pair.pixel_mm, scanner=scanner, dose=0.02, rng=rng)
    mask = corrected_masks(pair.lq, pair.gt, window_hu=pair.window_hu, pixel_mm=pair.pixel_mm).lungs
    made = np.where(mask > 0, noisy, pair.lq)
    found = quality(mask, made, low=pair.lq, normal=pair.gt, window_hu=pair.window_hu, pixel_mm=pair.pixel_mm)
    assert implausible(found) == []
