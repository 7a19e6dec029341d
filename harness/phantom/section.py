"""One axial section in the making: coordinates, textures, and the densities painted so far."""

from __future__ import annotations

import numpy as np

from harness.imaging.portable import angles
from harness.phantom.anatomy import Breath
from harness.phantom.patient import Patient
from harness.phantom.shapes import Array, coverage
from harness.phantom.surfaces import body_outline, chest_wall, diaphragm, lungs, mediastinum, organs


class Section:
    """The plane at height `z` of a patient in one breath, on `size` x `size` pixels of `pixel_mm`.

    `hu` holds what has been painted; `x`, `y` are the points in the patient's frame, slightly warped so that nothing is
    a perfect ellipse; `scanner_x`, `scanner_y` are scanner coordinates.
    """

    def __init__(self, patient: Patient, *, z: float, breath: Breath, size: int, pixel_mm: float) -> None:
        a = patient.anatomy
        self.patient, self.breath, self.z, self.pixel_mm = patient, breath, z, pixel_mm
        self.t = z / a.lung_height
        grid = ((np.arange(size) - (size - 1) / 2) * pixel_mm).astype(np.float32)
        self.scanner_x, self.scanner_y = (np.ascontiguousarray(axis) for axis in np.meshgrid(grid, grid))
        x, y = patient.from_scanner(self.scanner_x, self.scanner_y, breath)
        warp_x, warp_y = patient.warp(x, y, z)
        self.x, self.y = x + warp_x, y + warp_y
        self.fine = patient.fine(self.x, self.y, z, 1.1)
        self.coarse = patient.coarse(self.x, self.y, z, 2.3)
        self.hu = np.full((size, size), -1000, np.float32)

        self.body = body_outline(a, self.x, self.y, z, breath)
        self.chest = chest_wall(a, self.x, self.y, z, breath)
        self.organs = organs(a, self.x, self.y, z, breath)
        self.mediastinum = mediastinum(a, self.x, self.y, z, breath, contents=self.organs)
        self.diaphragm = diaphragm(a, self.x, self.y, breath)
        self.lungs = lungs(self.chest, self.mediastinum, self.diaphragm, z)
        # Angle seen from the chest's middle: 0 in front, pi at the spine, positive on the patient's left.
        down = (np.float32(5) - self.y).astype(np.float64)
        self.angle: Array = (
            angles(self.x.ravel().astype(np.float64), down.ravel()).astype(np.float32).reshape(size, size)
        )

    def fill(
        self,
        shape: Array,
        hu: float,
        *,
        fine: float = 0,
        coarse: float = 0,
        opacity: float | Array = 1,
    ) -> None:
        """Paint a shape, given as signed distance, with a density and textures of `fine` and `coarse` HU.

        An `opacity` below 1 lets what lies beneath show through. Only the shape's bounding box changes.
        """
        box = self.box(shape)
        if box is None:
            return
        paint = np.array(hu, np.float32)  # a scalar; textures broadcast it to the box
        if fine:
            paint = paint + np.float32(fine) * self.fine[box]
        if coarse:
            paint = paint + np.float32(coarse) * self.coarse[box]
        share = coverage(shape[box], self.pixel_mm)
        share *= opacity[box] if isinstance(opacity, np.ndarray) else np.float32(opacity)
        self.hu[box] += (paint - self.hu[box]) * share

    def shell(
        self, shape: Array, *, thickness: float, cortex: float, marrow: float, fine: float = 0, coarse: float = 0
    ) -> None:
        """Paint a bone: a dense cortex of `thickness` mm around marrow."""
        self.fill(shape, cortex, fine=fine)
        self.fill(shape + np.float32(thickness), marrow, coarse=coarse)

    def cover(self, shape: Array) -> Array:
        """Share of each pixel that a shape covers."""
        return coverage(shape, self.pixel_mm)

    def box(self, shape: Array) -> tuple[slice, slice] | None:
        """The rows and columns that a shape touches, None for none."""
        touched = shape < np.float32(self.pixel_mm / 2)
        rows = np.flatnonzero(touched.any(axis=1))
        if not len(rows):
            return None
        columns = np.flatnonzero(touched[rows[0] : rows[-1] + 1].any(axis=0))
        return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
