"""Find: a folder of files -> the planes in it, and what was left out and why."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path

from harness.base.errors import UsageError
from harness.base.png import Rejected
from harness.base.progress import Progress
from harness.base.slices import LITTER
from harness.importing.planes import Left, Plane, Stated

MOST_FILES = 1_000_000
EXTRA = "pip install 'ipv2-harness[scans]'"

ARRAYS, IMAGES = (".npy", ".npz"), (".png", ".tif", ".tiff")
PIXELS_OF_OTHERS = (".raw", ".zraw")  # a .mhd names them
NAMED_DICOM = (".dcm", ".ima", ".dicom")


def find_planes(source: Path, stated: Stated, progress: Progress) -> tuple[list[Plane], list[Left]]:
    """The planes in the files of `source`, a folder or one file, and what was left out.

    UsageError where there is no such folder, or a package that its files need is missing.
    """
    if not source.exists():
        raise UsageError(f"{source}: no such file or folder", fix="name the folder that holds the scans")
    root, files = (source, list(_walk(source))) if source.is_dir() else (source.parent, [Path(source.name)])
    planes: list[Plane] = []
    left: list[Left] = []
    for done, file in enumerate(files):
        progress(done, len(files))
        try:
            planes += _planes_of(root, file, stated)
        except Rejected as error:
            left.append(Left(str(file), str(error)))
        except OSError as error:
            left.append(Left(str(file), f"cannot be read: {error.strerror}"))
    return planes, left


def _walk(folder: Path) -> Iterator[Path]:
    """The files below a folder, relative to it, in the order of their names; links to folders are not followed."""
    count = 0
    for place, folders, files in os.walk(folder, onerror=_refuse_folder):
        folders[:] = sorted(name for name in folders if name not in LITTER and not name.startswith("."))
        for name in sorted(files):
            if name in LITTER or name.startswith(".") or name.upper() == "DICOMDIR":
                continue
            count += 1
            if count > MOST_FILES:
                raise UsageError(f"{folder}: more than {MOST_FILES} files", fix="import it in parts")
            yield (Path(place) / name).relative_to(folder)


def _refuse_folder(error: OSError) -> None:
    raise UsageError(f"{error.filename}: cannot be read: {error.strerror}", fix="correct its permissions")


def _planes_of(root: Path, file: Path, stated: Stated) -> list[Plane]:
    """The planes of one file. Readers are imported where a file needs them."""
    path, name = root / file, file.name.lower()
    if not path.is_file():
        raise Rejected("is no regular file")
    if name.endswith(PIXELS_OF_OTHERS):
        return []
    if name.endswith((".nii", ".nii.gz")):
        _need("nibabel", file)
        from harness.importing.volumes import nifti_planes

        return nifti_planes(root, file)
    if name.endswith((".mhd", ".mha")):
        from harness.importing.volumes import meta_planes

        return meta_planes(root, file)
    if name.endswith((*ARRAYS, *IMAGES)):
        from harness.importing.images import array_planes, image_planes

        return (array_planes if name.endswith(ARRAYS) else image_planes)(root, file, stated)
    with path.open("rb") as opened:
        head = opened.read(132)
    if head[128:132] == b"DICM" or name.endswith(NAMED_DICOM):
        _need("pydicom", file)
        from harness.importing.dicom import planes_of

        return planes_of(root, file, stated)
    raise Rejected("is no file of a scan that is known")


def _need(package: str, file: Path) -> None:
    if importlib.util.find_spec(package) is None:
        raise UsageError(f"{file}: to read it, the package {package} is needed", fix=EXTRA)


def natural(text: str) -> list[tuple[int, int, str]]:
    """A key by which 2 comes before 10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text)]
