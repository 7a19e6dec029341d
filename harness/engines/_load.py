"""A load of an image archive: what an engine does not take, while it takes one of ours, is the archive's fault."""

from __future__ import annotations

import contextlib
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker.errors

from harness.base.errors import BuildError
from harness.base.text import sanitise
from harness.engines._archives import checked_archive, control_archive
from harness.engines._build import ENGINE_RESERVE
from harness.sandbox import Machine

LOADED = re.compile(r"Loaded image(?: ID)?: (sha256:[0-9a-f]{64})")


def load(client: Any, archive: Path, machine: Machine) -> str:
    """The id of the image in an archive, which the engine has then.

    BuildError, ImagePolicyError; docker.errors.APIError where the engine takes no other archive either, or has no room.
    """
    with checked_archive(archive, machine=machine) as (facts, data):
        there = find_image(client, facts.id)
        try:
            said = _load(client, data)
            # the digest of its configuration, or another image store's name for it
            named = LOADED.search(said)
            image = find_image(client, facts.id) or (find_image(client, named[1]) if named is not None else None)
        except docker.errors.APIError as refusal:
            if there is None:
                _remove(client, facts.id)  # Podman may have it, and fail to look at it
            if _room(client) < 2 * facts.bytes + ENGINE_RESERVE:
                raise
            for control in LOADED.findall(_load(client, control_archive(machine))):
                _remove(client, control)
            said, image = str(refusal.explanation), None
        if image is None:
            raise BuildError(
                f"{archive}: the engine loaded no image: {sanitise(said)[-300:]}", fix="make it again with docker save"
            )
    return image


def find_image(client: Any, name: str) -> str | None:
    """The id of an image of that name or id, None where the engine has none."""
    try:
        return str(client.inspect_image(name)["Id"])
    except docker.errors.ImageNotFound:
        return None


def _load(client: Any, archive: Iterator[bytes]) -> str:
    """What the engine says of an archive that it has loaded; docker.errors.APIError for one that it refuses."""
    said = ""
    for event in client.load_image(archive, quiet=True):
        if "error" in event:
            raise docker.errors.APIError(event["error"], explanation=event["error"])
        said += event.get("stream", "")
    return said


def _remove(client: Any, image: str) -> None:
    with contextlib.suppress(docker.errors.APIError):  # it is not there, or another run is using it
        client.remove_image(image)


def _room(client: Any) -> float:
    """Free bytes on the engine's disk; infinite where that is on another machine."""
    root = Path(client.info()["DockerRootDir"])
    return shutil.disk_usage(root).free if root.is_dir() else math.inf
