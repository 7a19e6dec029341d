"""The images that submissions build on, made from the recipes in docker/.

1. python:3.11-slim-bookworm, as the engine has it or pulled; where it cannot be pulled, the same Python from Debian's
   packages by mmdebstrap (Debian or Ubuntu, root).
2. The wheels of docker/base/requirements.txt, downloaded by pip and installed without network.
3. For the torch image those of docker/torch/requirements.txt: 200 MB for the CPU, some 3 GB where pip gives the CUDA
   build.

Wheels and Debian's file system stay in the cache folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.base.digests import digest_bytes
from harness.base.errors import HarnessError, InfrastructureError
from harness.base.files import atomic_file, atomic_folder, cache_root, in_turn
from harness.base.process import run
from harness.base.shipped import shipped
from harness.engines import BASE_IMAGE, TORCH_IMAGE, Engine

if TYPE_CHECKING:
    from harness.engines.docker import DockerEngine

STOCK = "python:3.11-slim-bookworm"
DEBIAN = "ipv2-harness/debian-python:bookworm"
LABEL = "ipv2-harness.base-recipe"
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}  # Docker's names of processors and Python's
NO_WHEELS = ("No matching distribution", "ResolutionImpossible", "Invalid requirement")  # as pip's errors begin
WAIT_S = 3600.0  # for a download or an installation

Say = Callable[[str], None]


class NoWheels(InfrastructureError):
    """The package index answers, but has no wheels that meet what was asked for."""


def build_base_images(engine: Engine, *, torch: bool, install_tools: bool, say: Say) -> None:
    """Build the base image, and with `torch` the one with PyTorch, unless the engine has them as their recipes say.

    `say` hears what is done. With `install_tools` Debian's mmdebstrap is installed if it is needed and missing. An
    engine that builds nothing (apptainer) needs no base image. InfrastructureError says what is missing.
    """
    from harness.engines.docker import DockerEngine  # the SDK takes a while to import

    if not isinstance(engine, DockerEngine):
        say(f"{engine.name} builds no images and needs no base image")
        return
    with in_turn(cache_root() / "base" / "lock", waiting=lambda: say("another process builds it; waiting")):
        _build(engine, "base", tag=BASE_IMAGE, start_from=lambda: _python_image(engine, install_tools, say), say=say)
        if torch:
            _build(engine, "torch", tag=TORCH_IMAGE, start_from=lambda: BASE_IMAGE, say=say)


def _build(engine: DockerEngine, kind: str, *, tag: str, start_from: Callable[[], str], say: Say) -> None:
    """Build the image of docker/<kind> on the image that `start_from` names, unless it is there."""
    recipe = shipped("docker") / kind
    began = time.monotonic()
    digest = digest_bytes((recipe / "Dockerfile").read_bytes(), (recipe / "requirements.txt").read_bytes())
    present = engine.find_image(tag)
    if present and engine.labels_of(present).get(LABEL) == digest:
        say(f"{tag} is there ({present[7:19]})")
        return
    base = start_from()
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        for name in ("Dockerfile", "requirements.txt"):
            shutil.copy(recipe / name, context / name)
        shutil.copytree(_wheels(engine, recipe / "requirements.txt", say), context / "wheels")
        say("installing the wheels, without network")
        image = engine.build(context, tag=tag, arguments={"BASE_IMAGE": base}, labels={LABEL: digest})
    engine.prune_images(label="ipv2-harness.stage=wheels")
    say(f"built {tag} ({image[7:19]}) on {base} in {time.monotonic() - began:.0f} s")


def _wheels(engine: DockerEngine, requirements: Path, say: Say) -> Path:
    """A folder with the wheels of a requirements.txt for the image's Python and the engine's processor, verified by
    their hashes where it states any."""
    machine = MACHINES.get(engine.machine.architecture, engine.machine.architecture)
    folder = cache_root() / "base" / f"wheels-{machine}-{digest_bytes(requirements.read_bytes())[:16]}"
    if folder.is_dir():
        return folder
    say(f"downloading the wheels of docker/{requirements.parent.name}/requirements.txt")
    with atomic_folder(folder) as part:
        download_wheels(part, "--requirement", str(requirements), machine=machine)
    return folder


def download_wheels(folder: Path, *what: str, machine: str) -> None:
    """Download wheels, and those they need, by pip, for the base image's Python on a processor (`x86_64`, `aarch64`).

    `what` are pip's arguments: names, or --requirement and a file. InfrastructureError where pip is missing or fails,
    `NoWheels` where it finds no such wheels.
    """
    if importlib.util.find_spec("pip") is None:
        raise InfrastructureError(
            "downloading wheels needs pip, which this Python has not", fix=f"{sys.executable} -m ensurepip"
        )
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11", "--abi=cp311", "--abi=abi3"]
    command += ["--abi=none"]
    command += [f"--platform={name}_{machine}" for name in ("manylinux_2_28", "manylinux_2_27", "manylinux2014")]
    try:
        _run([*command, "--dest", str(folder), *what], "check the names and this machine's network")
    except InfrastructureError as error:
        refusals = re.findall("ERROR: (.*)", error.message)
        # pip finds no package, too, where it reaches no index, but then it says so before
        if "connection broken" in error.message or not any(line.startswith(NO_WHEELS) for line in refusals):
            raise
        raise NoWheels(f"for Python 3.11 on {machine} pip finds: {refusals[-1]}", fix=error.fix) from None


# -------------------------------------------------------------------------------- Python 3.11
def _python_image(engine: DockerEngine, install_tools: bool, say: Say) -> str:
    """The name of an image with Python 3.11."""
    if engine.find_image(STOCK) is not None:
        return STOCK
    say(f"pulling {STOCK}")
    try:
        engine.resolve(STOCK)
    except HarnessError as error:
        say(f"cannot pull it: {error.message}")
    else:
        return STOCK
    say("building Python 3.11 from Debian's packages instead (mmdebstrap, about a minute)")
    _load_debian(engine, _debian_tar(install_tools, say))
    return DEBIAN


def _debian_tar(install_tools: bool, say: Say) -> Path:
    """Python 3.11 on Debian 12 as a tar of its file system: the same packages give the same bytes."""
    tar = cache_root() / "base" / "debian-bookworm-python.tar"
    if tar.exists():
        return tar
    if shutil.which("mmdebstrap") is None:
        if not install_tools or os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise InfrastructureError(
                f"{STOCK} cannot be pulled, and mmdebstrap, which would build it, is not installed",
                fix=f"give the engine a network (docker pull {STOCK}), or as root on Debian or Ubuntu: "
                "harness engine build-base",
            )
        say("installing mmdebstrap")
        apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
        packages = ["mmdebstrap", "debian-archive-keyring"]
        for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            _run([*apt, *command], "apt-get install mmdebstrap")
    with atomic_file(tar) as part:
        command = ["env", "SOURCE_DATE_EPOCH=1700000000", "mmdebstrap", "--quiet", "--format=tar", "--variant=minbase"]
        command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale")]
        command += ["--include=python3,python3-pip,ca-certificates"]
        command += [
            f"--customize-hook={hook}"
            for hook in (
                'ln -sf python3 "$1/usr/bin/python"',
                # as in the stock image, whose pip may install beside the system's packages
                'rm -f "$1"/usr/lib/python3.*/EXTERNALLY-MANAGED',
                # byte code contains times
                'find "$1"/usr/lib/python3* -name __pycache__ -type d -prune -exec rm -rf {} +',
            )
        ]
        _run([*command, "bookworm", str(part)], "see whether Debian's mirrors can be reached")
    return tar


def _load_debian(engine: DockerEngine, layer: Path) -> None:
    """Load the Debian file system as an image. `docker import` would stamp a time into its configuration; an archive
    with a configuration of our own has the same id wherever the file system has the same bytes."""
    with layer.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    config = {
        "architecture": engine.machine.architecture,
        "os": "linux",
        "created": "2023-11-14T22:13:20Z",
        "config": {"Env": [f"PATH={path}", "LANG=C.UTF-8"], "Cmd": ["python3"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": "2023-11-14T22:13:20Z", "created_by": "docker/build-base: mmdebstrap"}],
    }
    raw = json.dumps(config, sort_keys=True).encode()
    name = f"{hashlib.sha256(raw).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": None, "Layers": ["layer.tar"]}]
    with tempfile.TemporaryDirectory(dir=layer.parent) as folder:
        archive = Path(folder) / "image.tar"
        with tarfile.open(archive, "w") as tar:
            for member, data in ((name, raw), ("manifest.json", json.dumps(manifest).encode())):
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            tar.add(layer, "layer.tar")
        engine.load(archive, tag=DEBIAN)


def _run(command: Sequence[str], fix: str) -> None:
    """Run a program to its end; InfrastructureError with its last words if it fails."""
    done = run(command, timeout_s=WAIT_S)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        program = next(word for word in command if word != "env" and "=" not in word)
        raise InfrastructureError(f"{program} failed with exit status {done.returncode}: {said}", fix=fix)
