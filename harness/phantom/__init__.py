"""The embedded phantom: a procedural, breathing thorax, scanned at normal and at low dose, with known truth.

    patient = make_patient(2602, 0, view="full")
    for level in levels(6):
        scanned = scan_slice(patient, level, size=512, dose=0.02)

The anatomy is invented, with the proportions of adults; the code was written for this project.
"""

from harness.phantom.anatomy import VIEWS, View
from harness.phantom.further import PlaneScans, scan_plane
from harness.phantom.patient import Patient, make_patient
from harness.phantom.scan import PhantomSlice, levels, levels_with_nodules, nodule_levels, scan_slice

__all__ = [
    "VIEWS",
    "Patient",
    "PhantomSlice",
    "PlaneScans",
    "View",
    "levels",
    "levels_with_nodules",
    "make_patient",
    "nodule_levels",
    "scan_plane",
    "scan_slice",
]
