"""`engine`: start a container engine, and build the images that submissions start from."""

from __future__ import annotations

import sys

import rich_click as click

from harness.cli._common import engine_option, is_quiet


@click.group()
def engine() -> None:
    """Start a container engine; build the images that submissions start from."""


@engine.command()
@click.option("--stop", is_flag=True, help="Stop the engine that this command started.")
@engine_option
def start(stop: bool) -> None:
    """Make sure that a container engine answers: as root on Debian or Ubuntu, install and start one.

    An engine that runs already is used as it is. --engine podman starts Podman's service instead of Docker.
    """
    from harness.base.errors import InfrastructureError
    from harness.base.process import run_shown
    from harness.base.shipped import shipped

    if run_shown(["bash", str(shipped("docker") / "start-engine"), *(["--stop"] if stop else [])]) != 0:
        sys.exit(InfrastructureError.exit_code)


@engine.command(name="build-base")
@click.option("--torch", is_flag=True, help="Also build the image with PyTorch (0.2 GB, with CUDA 3 GB to download).")
@engine_option
def build_base(torch: bool) -> None:
    """Build the base image of submissions, unless the engine has it. `harness run` does this where it is missing."""
    from harness.engines import connect
    from harness.run.base_image import build_base_images

    def say(line: str) -> None:
        if not is_quiet():
            click.echo(line)

    with connect() as connected:
        build_base_images(connected, torch=torch, install_tools=True, say=say)
