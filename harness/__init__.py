"""Evaluation harness for ultra-low-dose lung CT denoisers that come as containers."""

__version__ = "0.2.0"
