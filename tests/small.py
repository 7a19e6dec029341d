"""Protocols for tests that start `harness` in processes of their own: few small slices, metrics that need no torch."""

from __future__ import annotations

import re

from harness.protocol import protocol_path

BY_TRUTH = "rank_by: {metric: RMSE, region: lung, reference: truth}"
"""How the embedded protocols rank, as text of their files."""


def small_protocol(data: str = "patients: 2, slices: 1, size: 128") -> str:
    """phantom-mini with less data, without distributions, SSIM and VIF: importing torch takes seconds a process."""
    text = protocol_path("phantom-mini").read_text()
    text = text.replace("patients: 3, slices: 4, size: 256", data)
    return re.sub(r"^  - .*(frechet|kernel|ssim|vif).*\n", "", text, flags=re.MULTILINE)
