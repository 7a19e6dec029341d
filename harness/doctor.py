"""Doctor: what this machine can do, and how to get what it lacks."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from harness.base.errors import HarnessError
from harness.base.files import atomic_file, cache_root
from harness.base.processor import processor
from harness.base.structs import Strict, expand_variables
from harness.engines import BASE_IMAGE, TORCH_IMAGE, Engine, connect
from harness.features.weights import find, known
from harness.importing.find import EXTRA
from harness.protocol import PhantomData, load_protocol, protocol_names

FREE_GB = 5  # for images, data, labels and runs of a few submissions
READERS = ("pydicom", "nibabel")
PUBLISHED = ("efficientnet-lite0", "inception", "clip")


class Finding(Strict, frozen=True, kw_only=True):
    """One thing that was examined. `missing` prevents `harness run` on the phantom, `limited` something else."""

    what: str
    state: Literal["ok", "limited", "missing"]
    found: str
    fix: str = ""


def examine() -> Iterator[Finding]:
    """Examine processor, engine, base image, GPU, disk, weights and data, one after another."""
    yield Finding(what="python", state="ok", found=f"{platform.python_version()}, {platform.platform()}")
    yield Finding(what="processor", state="ok", found=str(processor()))
    yield from _engine()
    yield _cache()
    yield from map(_weights, PUBLISHED)
    yield _scans()
    yield from (_data(name) for name in protocol_names() if not name.endswith("-train"))


def _engine() -> Iterator[Finding]:
    try:
        engine = connect()
    except HarnessError as error:
        yield Finding(what="engine", state="missing", found=error.message, fix=error.fix)
        return
    with engine:
        yield Finding(what="engine", state="ok", found=engine.description)
        machine = engine.machine
        size = f"{machine.cpus:g} cores, {machine.memory_bytes / 1e9:.0f} GB, {machine.os}/{machine.architecture}"
        yield Finding(what="machine", state="ok", found=f"{size}; protocol limits above this are lowered")
        yield from _images(engine)
        if machine.gpus:
            yield Finding(what="GPU", state="ok", found=", ".join(machine.gpus))
        else:
            yield Finding(
                what="GPU",
                state="limited",
                found="none: submissions with gpu: optional run on the CPU, gpu: required ends with status 24",
                fix="an NVIDIA GPU, its driver (nvidia-smi) and nvidia-container-toolkit",
            )


def _images(engine: Engine) -> Iterator[Finding]:
    if not engine.builds:
        yield Finding(what="base image", state="ok", found=f"{engine.name} needs none")
        return
    if engine.find_image(BASE_IMAGE):
        yield Finding(what="base image", state="ok", found=BASE_IMAGE)
    else:
        found = f"no {BASE_IMAGE}: the first run builds it"
        yield Finding(what="base image", state="limited", found=found, fix="harness engine build-base builds it now")
    if engine.find_image(TORCH_IMAGE):
        yield Finding(what="torch image", state="ok", found=TORCH_IMAGE)
    else:
        fix = "harness engine build-base --torch, for submissions that begin with FROM ${TORCH_IMAGE}"
        yield Finding(what="torch image", state="limited", found=f"no {TORCH_IMAGE}", fix=fix)


def _cache() -> Finding:
    root = cache_root()
    try:
        with atomic_file(root / "doctor") as part:
            part.write_text("writable")
        (root / "doctor").unlink()
    except (HarnessError, OSError) as error:
        return Finding(what="cache", state="missing", found=str(error), fix="export HARNESS_CACHE=/path/with/space")
    free = shutil.disk_usage(root).free / 1e9
    return Finding(
        what="cache",
        state="ok" if free >= FREE_GB else "limited",
        found=f"{root}, {free:.0f} GB free",
        fix=""
        if free >= FREE_GB
        else f"free some space ({FREE_GB} GB are comfortable), or set HARNESS_CACHE to another disk",
    )


def _weights(extractor: str) -> Finding:
    what = f"weights: {extractor}"
    try:
        file, path = find(extractor)
    except HarnessError as error:
        named = ", ".join(file.name for file in known(extractor))
        return Finding(what=what, state="limited", found=f"none of {named}", fix=error.fix)
    return Finding(what=what, state="ok", found=f"{file.name} in {path.parent}")


def _scans() -> Finding:
    missing = [name for name in READERS if importlib.util.find_spec(name) is None]
    if missing:
        found = f"without {', '.join(missing)}: harness import reads no DICOM or NIfTI"
        return Finding(what="scans", state="limited", found=found, fix=EXTRA)
    return Finding(what="scans", state="ok", found=f"harness import has {', '.join(READERS)}")


def _data(name: str) -> Finding:
    what = f"data: {name}"
    try:
        protocol = load_protocol(name)
        if isinstance(protocol.data, PhantomData):
            return Finding(what=what, state="ok", found="embedded phantom")
        path = Path(expand_variables(protocol.data.path, where=name, environment=os.environ))
    except HarnessError as error:
        return Finding(what=what, state="limited", found=error.message, fix=error.fix)
    if not path.is_dir():
        return Finding(
            what=what,
            state="limited",
            found=f"{path}: no such folder",
            fix="correct the environment variable in the protocol's data.path",
        )
    return Finding(what=what, state="ok", found=str(path))
