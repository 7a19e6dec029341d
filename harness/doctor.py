"""Doctor: what this machine can do, and how to get what is missing."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from harness.base.errors import HarnessError
from harness.base.files import atomic_file, cache_root
from harness.base.structs import Strict, expand_variables
from harness.engines import BASE_IMAGE, TORCH_IMAGE, connect
from harness.features.weights import find, known
from harness.protocol import FolderData, load_protocol, protocol_names

ROOM_GB = 5  # that images, data, labels and runs of a few submissions take
PUBLISHED = ("inception", "clip")


class Finding(Strict, frozen=True, kw_only=True):
    """One thing that was looked at. `missing` stops `harness run` on the embedded phantom, `limited` something else."""

    what: str
    state: Literal["ok", "limited", "missing"]
    found: str
    do: str = ""


def examine() -> Iterator[Finding]:
    """Look at engine, base image, GPU, disk, weights and data, one after another."""
    yield Finding(what="python", state="ok", found=f"{platform.python_version()}, {platform.platform()}")
    yield from _engine()
    yield _cache()
    yield from map(_weights, PUBLISHED)
    yield from map(_data, protocol_names())


def _engine() -> Iterator[Finding]:
    try:
        engine = connect()
    except HarnessError as error:
        yield Finding(what="engine", state="missing", found=error.message, do=error.fix)
        return
    with engine:
        yield Finding(what="engine", state="ok", found=engine.description)
        machine = engine.machine
        room = f"{machine.cpus:g} cores, {machine.memory_bytes / 1e9:.0f} GB, {machine.os}/{machine.architecture}"
        yield Finding(what="machine", state="ok", found=f"{room}; limits of a protocol above it are lowered")
        if engine.find_image(BASE_IMAGE):
            yield Finding(what="base image", state="ok", found=BASE_IMAGE)
        else:
            yield Finding(what="base image", state="missing", found=f"no {BASE_IMAGE}", do="docker/build-base")
        if engine.find_image(TORCH_IMAGE):
            yield Finding(what="torch image", state="ok", found=TORCH_IMAGE)
        else:
            for_whom = "for submissions that begin with FROM ${TORCH_IMAGE}"
            do = f"docker/build-base --torch, {for_whom}"
            yield Finding(what="torch image", state="limited", found=f"no {TORCH_IMAGE}", do=do)
        if machine.gpus:
            yield Finding(what="GPU", state="ok", found=", ".join(machine.gpus))
        else:
            yield Finding(
                what="GPU",
                state="limited",
                found="none: gpu: optional runs on the CPU, gpu: required ends with status 24",
                do="an NVIDIA GPU with driver (nvidia-smi) and nvidia-container-toolkit",
            )


def _cache() -> Finding:
    root = cache_root()
    try:
        with atomic_file(root / "doctor") as part:
            part.write_text("writable")
        (root / "doctor").unlink()
    except (HarnessError, OSError) as error:
        return Finding(what="cache", state="missing", found=str(error), do="export HARNESS_CACHE=/path/with/space")
    free = shutil.disk_usage(root).free / 1e9
    return Finding(
        what="cache",
        state="ok" if free >= ROOM_GB else "limited",
        found=f"{root}, {free:.0f} GB free",
        do="" if free >= ROOM_GB else f"make room ({ROOM_GB} GB are comfortable) or set HARNESS_CACHE",
    )


def _weights(extractor: str) -> Finding:
    what = f"weights: {extractor}"
    try:
        file, path = find(extractor)
    except HarnessError as error:
        named = ", ".join(file.name for file in known(extractor))
        return Finding(what=what, state="limited", found=f"none of {named}", do=error.fix)
    return Finding(what=what, state="ok", found=f"{file.name} in {path.parent}")


def _data(name: str) -> Finding:
    what = f"data: {name}"
    try:
        protocol = load_protocol(name)
        if not isinstance(protocol.data, FolderData):
            return Finding(what=what, state="ok", found="embedded phantom")
        path = Path(expand_variables(protocol.data.path, where=name, environment=os.environ))
    except HarnessError as error:
        return Finding(what=what, state="limited", found=error.message, do=error.fix)
    if not path.is_dir():
        return Finding(what=what, state="limited", found=f"{path}: no such folder", do="correct the variable")
    return Finding(what=what, state="ok", found=str(path))
