"""Packages that a submission needs beside the base image's, as wheels in its folder: its build has no network."""

from __future__ import annotations

import platform
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness.base.errors import UsageError
from harness.base.shipped import shipped
from harness.run.base_image import NoWheels, download_wheels

WHEELS = "wheels"


def add_packages(folder: Path, packages: Sequence[str]) -> list[str]:
    """Fetch wheels of packages (pip's names, "monai" or "monai==1.5") and of what they need to `<folder>/wheels`, for
    the base image's Python and this machine's processor, and name the packages in requirements.txt.

    What the base image holds stays out. Returns the names of the files. UsageError where there are no such wheels, else
    InfrastructureError as `download_wheels`.
    """
    held = _pins(shipped("docker") / "base" / "requirements.txt")
    with tempfile.TemporaryDirectory() as name:
        part = Path(name)
        (part / "held.txt").write_text("".join(f"{package}=={version}\n" for package, version in held.items()))
        fetched = part / WHEELS
        machine = platform.machine()
        try:
            download_wheels(fetched, "--constraint", str(part / "held.txt"), "--", *packages, machine=machine)
        except NoWheels as error:
            raise UsageError(
                error.message,
                fix="correct the name or version; of a package without wheels build one, and put it into wheels/",
            ) from None
        new = [path for path in sorted(fetched.glob("*.whl")) if _named(path.name.split("-")[0]) not in held]
        (folder / WHEELS).mkdir(exist_ok=True)
        for path in new:
            shutil.copy(path, folder / WHEELS / path.name)
    with (folder / "requirements.txt").open("a") as requirements:
        requirements.writelines(f"{package}\n" for package in packages)
    return [path.name for path in new]


def _pins(path: Path) -> dict[str, str]:
    """Package -> version of the lines `name==version` of a requirements.txt."""
    found = re.findall(r"(?m)^([\w.-]+)==([\w.+!-]+)", path.read_text())
    return {_named(package): version for package, version in found}


def _named(package: str) -> str:
    """A package's name in the form that all spellings of it share."""
    return re.sub(r"[-_.]+", "-", package).lower()
