from __future__ import annotations

import pytest

from harness.phantom import Patient, PhantomSlice, make_patient, scan_slice

SEED, SIZE, DOSE = 2602, 128, 0.02


@pytest.fixture(scope="session")
def patient() -> Patient:
    return make_patient(SEED, 0)


@pytest.fixture(scope="session")
def scanned(patient: Patient) -> PhantomSlice:
    return scan_slice(patient, 0.45, size=SIZE, dose=DOSE)
