"""A patient: the anatomy, the two breaths of the two scans, the vessel trees and the tissues' textures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.imaging.draws import generator
from harness.phantom.anatomy import Anatomy, Breath, View, draw_anatomy, draw_breath
from harness.phantom.shapes import Array, Texture, turned
from harness.phantom.vessels import grow_trees

WARP_MM, WARP_VOXEL_MM = 2.6, 14.0


@dataclass(frozen=True, kw_only=True)
class Patient:
    """Everything about one patient that does not depend on the slice; it can be pickled."""

    seed: int
    index: int
    anatomy: Anatomy
    normal_dose_breath: Breath
    low_dose_breath: Breath
    arteries: Array
    veins: Array
    fine: Texture
    coarse: Texture
    warps: tuple[Texture, Texture]

    def from_scanner(self, x: Array, y: Array, breath: Breath) -> tuple[Array, Array]:
        """Scanner coordinates -> the patient's frame, which is shifted and rolled."""
        a = self.anatomy
        x, y = x - np.float32(a.offset_x + breath.shift_x), y - np.float32(a.offset_y + breath.shift_y)
        return turned(x, y, a.roll + breath.roll)

    def to_scanner(self, x: Array, y: Array, breath: Breath) -> tuple[Array, Array]:
        """The inverse of `from_scanner`."""
        a = self.anatomy
        x, y = turned(x, y, -a.roll - breath.roll)
        return x + np.float32(a.offset_x + breath.shift_x), y + np.float32(a.offset_y + breath.shift_y)

    def warp(self, x: Array, y: Array, z: float) -> tuple[Array, Array]:
        """Displacement of the anatomy at each point, in mm."""
        across, down = (warp(x, y, z, WARP_VOXEL_MM) * np.float32(WARP_MM) for warp in self.warps)
        return across, down


def make_patient(seed: int, index: int, *, view: View = "full") -> Patient:
    """Patient `index` of the population `seed`, independent of all others; `view` is one of VIEWS.

    A patient's body is the same in every view: only the table and the field of view differ.
    """
    rng = generator(seed, index)
    anatomy = draw_anatomy(rng, view=view)
    arteries, veins = grow_trees(anatomy, rng)
    return Patient(
        seed=seed,
        index=index,
        anatomy=anatomy,
        normal_dose_breath=draw_breath(rng, exhaled=(0.0, 0.25)),
        low_dose_breath=draw_breath(rng, exhaled=(0.35, 0.9)),
        arteries=arteries,
        veins=veins,
        fine=Texture(rng, side=64, smooth=1),
        coarse=Texture(rng, side=64, smooth=2),
        warps=(Texture(rng, side=32, smooth=2), Texture(rng, side=32, smooth=2)),
    )
