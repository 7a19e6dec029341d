"""Scoring regions of a region map, and the consensus of two."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy import ndimage

from harness.imaging.regions import REGIONS, TISSUES, Code, consensus, dilate, erode, shrink

Codes = NDArray[np.uint8]
shapes = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24)
codes_of = st.sampled_from([int(code) for code in Code])


def _thorax() -> Codes:
    """40 x 40: four rows of padding, air, body in rows 10-34 with a lung in it, table in the last two rows."""
    codes = np.full((40, 40), Code.AIR, np.uint8)
    codes[:4] = Code.PADDING
    codes[10:35, 6:34] = Code.BODY
    codes[16:28, 12:28] = Code.LUNG
    codes[38:] = Code.TABLE
    return codes


def test_regions_keep_their_distances_from_what_is_else() -> None:
    masks = shrink(_thorax())
    rows = {name: np.nonzero(mask)[0] for name, mask in masks.items()}
    columns = {name: np.nonzero(mask)[1] for name, mask in masks.items()}
    # 2 pixels from row 15 and row 28, from column 11 and column 28
    assert (rows["lung"].min(), rows["lung"].max()) == (18, 25)
    assert (columns["lung"].min(), columns["lung"].max()) == (14, 25)
    assert (rows["body"].min(), rows["body"].max()) == (12, 32)
    # 3 pixels from the padding in row 3; 5 from the table in row 38, which the image's border does not shorten
    assert (rows["background"].min(), rows["background"].max()) == (7, 32)
    assert (columns["background"].min(), columns["background"].max()) == (0, 39)
    assert rows["whole"].min() == 4


def test_every_region_has_its_name_and_no_other() -> None:
    assert tuple(shrink(_thorax())) == REGIONS


def test_a_nodule_is_part_of_the_lung_and_whole() -> None:
    codes = _thorax()
    codes[20:23, 19:22] = Code.NODULE
    masks = shrink(codes)
    np.testing.assert_array_equal(masks["lung"], shrink(_thorax())["lung"])
    assert masks["nodules"].sum() == 9


def test_one_tissue_from_border_to_border_is_not_eroded() -> None:
    assert shrink(np.full((8, 9), Code.LUNG, np.uint8))["lung"].all()


@given(arrays(np.uint8, shapes, elements=codes_of))
def test_regions_are_disjoint_and_hold_only_their_own_code(codes: Codes) -> None:
    masks = shrink(codes)
    np.testing.assert_array_equal(masks["whole"], codes != Code.PADDING)
    pure = {
        "background": [Code.AIR],
        "body": list(TISSUES),
        "lung": [Code.LUNG, Code.NODULE],
        "table": [Code.TABLE],
    }
    for name, own in pure.items():
        assert masks[name].dtype == bool
        assert np.isin(codes[masks[name]], own).all()
    parts = [masks[name] for name in (*pure, "boundary")] + [codes == Code.GAS]
    np.testing.assert_array_equal(np.sum(parts, axis=0), masks["whole"])  # each pixel once
    np.testing.assert_array_equal(masks["nodules"], codes == Code.NODULE)
    assert not (masks["nodules"] & ~(masks["lung"] | masks["boundary"])).any()


@given(st.data(), shapes)
def test_consensus_is_symmetric_and_leaves_disputes_to_no_tissue(data: st.DataObject, shape: tuple[int, int]) -> None:
    one, other = (data.draw(arrays(np.uint8, shape, elements=codes_of)) for _ in range(2))
    codes, fraction = consensus(one, other)
    mirrored, same = consensus(other, one)
    np.testing.assert_array_equal(codes, mirrored)
    assert fraction == same
    assert 0 <= fraction <= 1
    np.testing.assert_array_equal(codes[one == other], one[one == other])
    tissue = np.isin(one, TISSUES) & np.isin(other, TISSUES) & (one != other)
    assert (codes[tissue] == Code.BODY).all()
    elsewhere = (one != other) & ~tissue
    assert (codes[elsewhere] == Code.UNASSIGNED).all()
    assert (shrink(codes)["boundary"] & shrink(codes)["whole"])[elsewhere].all()


def test_a_disputed_tissue_is_still_the_body() -> None:
    """Else every edge between fat and organs would be taken out of the body, with two pixels around it."""
    one = np.full((20, 20), Code.FAT, np.uint8)
    other = one.copy()
    one[:, :10], other[:, :11] = Code.SOFT, Code.SOFT
    found = shrink(consensus(one, other)[0])
    assert found["body"].all()
    assert not (found["soft"] | found["fat"])[:, 9:12].any()


def test_consensus_is_counted_inside_the_field_of_view() -> None:
    one = np.full((10, 10), Code.PADDING, np.uint8)
    one[2:7] = Code.BODY  # 50 pixels seen
    other = one.copy()
    other[2] = Code.AIR  # 10 of them disputed
    assert consensus(one, other)[1] == 0.8
    assert consensus(one, one)[1] == 1.0
    assert consensus(np.zeros_like(one), np.zeros_like(one))[1] == 1.0


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40)), st.floats(0, 12))
def test_erosion_is_by_the_exact_distance(mask: NDArray[np.bool_], radius: float) -> None:
    """scipy's exact Euclidean distance transform; where nothing lies outside, or inside, there is no distance."""
    assert erode(mask, radius).dtype == bool
    inside = ndimage.distance_transform_edt(mask) > radius if not mask.all() else mask
    near = ndimage.distance_transform_edt(~mask) <= radius if mask.any() else mask
    np.testing.assert_array_equal(erode(mask, radius), inside)
    np.testing.assert_array_equal(dilate(mask, radius), near)
