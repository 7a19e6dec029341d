"""What comes with the harness beside its code: protocols, the submission template, the recipes in docker/."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
PACKAGED = "_shipped"  # setup.py copies the checkout's folders there when it builds a wheel


def shipped(name: str) -> Path:
    """A folder that comes with the harness, such as `protocols`: package data of a wheel, else that of the checkout."""
    packaged = PACKAGE / PACKAGED
    return (packaged if packaged.is_dir() else PACKAGE.parent) / name
