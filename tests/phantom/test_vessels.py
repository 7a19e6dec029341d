from __future__ import annotations

import math

import numpy as np
import pytest

from harness.phantom import Patient
from harness.phantom.anatomy import INSPIRED
from harness.phantom.surfaces import chest_wall
from harness.phantom.vessels import ARTERY_TIPS, TIP_RADIUS, VEIN_TIPS, draw_tubes


def tube(*ends_and_radii: float) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.array([ends_and_radii], np.float32)


def test_trees_reach_every_tip_and_stay_in_the_chest(patient: Patient) -> None:
    for tree, tips in ((patient.arteries, ARTERY_TIPS), (patient.veins, VEIN_TIPS)):
        # A binary tree of n tips has 2n - 1 branches; each is drawn in two halves, and there is a tree a side.
        assert len(tree) == 2 * 2 * (2 * tips - 1)
        assert np.isfinite(tree).all()
        assert tree[:, 6].min() == pytest.approx(TIP_RADIUS * 0.97, rel=0.01)
        assert 5 < tree[:, 6].max() < 12
    ends = patient.arteries[::37]
    outside = [
        float(chest_wall(patient.anatomy, end[3:4, None], end[4:5, None], float(end[5]), INSPIRED)[0, 0])
        for end in ends
    ]
    assert np.mean(np.array(outside) < 0) > 0.99


def test_branches_run_away_from_the_hilum(patient: Patient) -> None:
    a = patient.anatomy
    right = patient.arteries[(patient.arteries[:, 0] < -60) & (patient.arteries[:, 6] > 0.8)]
    hilum = np.array([-36 * a.size, 0, 0.46 * a.lung_height])
    way = right[:, 3:6] - right[:, :3]
    outwards = right[:, :3] - hilum
    cosine = (way * outwards).sum(axis=1) / np.linalg.norm(way, axis=1) / np.linalg.norm(outwards, axis=1)
    assert np.average(cosine, weights=np.linalg.norm(way, axis=1)) > 0.4


@pytest.mark.parametrize("radius", [0.2, 0.5, 1.5, 4.0])
def test_a_tube_fills_its_cross_section(radius: float) -> None:
    pixel = 0.4
    upright = tube(3.1, -2.3, -50, 3.1, -2.3, 50, radius, radius)
    area = float(draw_tubes(upright, z=0, thickness=2.5, size=100, pixel_mm=pixel).sum()) * pixel**2
    assert area == pytest.approx(math.pi * radius**2, rel=0.12 if radius < 1 else 0.03)
    lying = tube(-10, -3, 0, 10, 5, 0, radius, radius)
    volume = float(draw_tubes(lying, z=0, thickness=10, size=100, pixel_mm=pixel).sum()) * pixel**2 * 10
    length = math.hypot(20, 8)
    if radius > 1:  # five planes 2 mm apart sample the height of thinner tubes too coarsely
        assert volume == pytest.approx(math.pi * radius**2 * length + 4 / 3 * math.pi * radius**3, rel=0.15)


def test_overlapping_tubes_are_a_union() -> None:
    one = tube(0, 0, -9, 0, 0, 9, 3, 3)
    drawn = draw_tubes(one, z=0, thickness=2.5, size=64, pixel_mm=0.5)
    twice = draw_tubes(np.concatenate([one, one]), z=0, thickness=2.5, size=64, pixel_mm=0.5)
    np.testing.assert_array_equal(drawn, twice)
    assert drawn.max() == pytest.approx(1)


def test_a_tube_outside_the_slab_or_the_image_leaves_no_trace() -> None:
    for far in (tube(0, 0, 20, 5, 5, 30, 2, 2), tube(500, 0, -1, 520, 0, 1, 2, 2)):
        assert not draw_tubes(far, z=0, thickness=2.5, size=64, pixel_mm=0.5).any()
