"""Container image: Submission -> the id of its image, which the engine builds, loads or pulls."""

from __future__ import annotations

import re
from pathlib import Path

from harness.base.errors import BuildError, InfrastructureError, UsageError
from harness.engines import BASE_IMAGE, TORCH_IMAGE, Engine
from harness.sandbox import BuildPolicy
from harness.submission.dockerfile import MAX_BYTES, rewrite
from harness.submission.manifest import Submission


def image_of(submission: Submission, engine: Engine, policy: BuildPolicy) -> str:
    """The id of the submission's image: built under `policy`, loaded or pulled.

    Tags move, so whatever runs later is named by this id.

    BuildError, ImagePolicyError (for what the Dockerfile or archive must not say), UsageError, InfrastructureError.
    """
    folder, source = Path(submission.folder), submission.manifest.image
    tag = f"ipv2-harness/submissions:{submission.slug}"
    if source.archive is None and not engine.builds:
        raise UsageError(
            f"{submission.slug}: image: {engine.name} neither builds nor pulls images, it takes archives only",
            fix="build it elsewhere, run docker save IMAGE -o image.tar, and state image: {archive: image.tar}",
        )
    if source.build is not None:
        context = folder / source.build
        arguments = {"BASE_IMAGE": BASE_IMAGE, "TORCH_IMAGE": TORCH_IMAGE}
        dockerfile = rewrite(_dockerfile(context), allowed={*arguments.values(), *policy.images}, arguments=arguments)
        commands = {BASE_IMAGE: "harness engine build-base", TORCH_IMAGE: "harness engine build-base --torch"}
        for image, command in commands.items():
            used = re.search(rf"^(FROM |COPY .*--from=){re.escape(image)}\b", dockerfile, re.MULTILINE)
            if used and engine.find_image(image) is None:
                raise InfrastructureError(f"the engine has no image {image}", fix=f"{command} builds it")
        return engine.build(
            context,
            dockerfile=dockerfile,
            tag=tag,
            arguments=arguments,
            labels={"ipv2-harness.submission": submission.slug},
            policy=policy,
        )
    if source.archive is not None:
        return engine.load(folder / source.archive, tag=tag)
    assert source.ref is not None  # Image holds exactly one
    return engine.resolve(source.ref, policy=policy)


def _dockerfile(context: Path) -> str:
    path = context / "Dockerfile"
    if path.is_symlink() or not path.is_file():  # through a link our messages could quote any file of this machine
        raise UsageError(
            f"{context}: image.build names a folder without a Dockerfile (a file, not a link)",
            fix="write a Dockerfile; submissions/template has one",
        )
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1).decode()
    except UnicodeDecodeError as error:
        raise BuildError(f"{path}: not UTF-8: {error}", fix="save it as UTF-8") from error
