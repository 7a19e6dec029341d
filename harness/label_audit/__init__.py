"""Audit: is a label set any good? Its gates, how it ranks a battery of denoisers, and what the weak denoiser changes.

Inside the lung an IPv2 label is a denoised copy of the input, so that it favours the denoiser that made it and may
rank others wrongly. Where the noise-free truth is known (the phantom) this can be measured: Kendall's tau between the
rankings by label and by truth, and the rank of each denoiser under the labels of several weak denoisers.
"""

from harness.label_audit.compute import NEEDS_TRUTH, Audit, Gate, LabelAudit, Ranking, audit
from harness.label_audit.tables import Table, markdown, tables

__all__ = ["NEEDS_TRUTH", "Audit", "Gate", "LabelAudit", "Ranking", "Table", "audit", "markdown", "tables"]
