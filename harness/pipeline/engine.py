"""The container engine, with the image that submissions build on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.base.progress import Reporter
from harness.engines import BASE_IMAGE, Engine, connect
from harness.run.base_image import build_base_images


@contextmanager
def connect_with_base(reporter: Reporter) -> Iterator[Engine]:
    """The engine that HARNESS_ENGINE names, for as long as the block lasts; if it has no base image, that is built.

    InfrastructureError where no engine answers or the image cannot be built.
    """
    with connect() as engine:
        if engine.builds and engine.find_image(BASE_IMAGE) is None:
            with reporter.stage("base image"):
                build_base_images(engine, torch=False, install_tools=False, say=reporter.step)
        yield engine
