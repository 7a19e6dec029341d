"""Container image: Submission -> its image, which the engine builds, loads or pulls, and which is checked then."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from harness.base.errors import BuildError, ImagePolicyError, InfrastructureError, SubmissionError, UsageError
from harness.engines import BASE_IMAGE, TORCH_IMAGE, Engine
from harness.sandbox import BuildPolicy, Device, ImageFacts, Machine, check_image
from harness.submission.dockerfile import MAX_BYTES, rewrite
from harness.submission.manifest import Submission


def checked_image(
    submission: Submission, engine: Engine, policy: BuildPolicy, *, machine: Machine, device: Device
) -> ImageFacts:
    """The submission's image, built under `policy`, loaded or pulled, and checked (`harness.sandbox.check_image`).

    Tags move, so whatever runs later is named by its id.

    BuildError, ImagePolicyError (for what Dockerfile, archive or image must not say), UsageError, InfrastructureError.
    """
    facts = engine.inspect(_image_of(submission, engine, policy, tag=_tag(submission)))
    check_image(facts, machine=machine, device=device)
    return facts


@contextlib.contextmanager
def removed_if_refused(submission: Submission, engine: Engine) -> Iterator[None]:
    """Remove the submission's image from the engine if it turns out in the block that it may not or cannot run."""
    names = [_tag(submission)]
    if (ref := submission.manifest.image.ref) is not None and engine.find_image(ref) is None:
        names.append(ref)  # what the user had before stays
    try:
        yield
    except ImagePolicyError:
        for name in names:
            engine.untag(name)
        raise


def _tag(submission: Submission) -> str:
    return f"ipv2-harness/submissions:{submission.slug}"


def _image_of(submission: Submission, engine: Engine, policy: BuildPolicy, *, tag: str) -> str:
    """The id of the submission's image."""
    folder, source = Path(submission.folder), submission.manifest.image
    if source.archive is None and not engine.builds:
        raise UsageError(
            f"{submission.slug}: image: {engine.name} neither builds nor pulls images, it takes archives only",
            fix="build it elsewhere, run docker save IMAGE -o image.tar, and state image: {archive: image.tar}",
        )
    if source.build is not None:
        context = folder / source.build
        arguments = {"BASE_IMAGE": BASE_IMAGE, "TORCH_IMAGE": TORCH_IMAGE}
        dockerfile = rewrite(_dockerfile(context), allowed={*arguments.values(), *policy.images}, arguments=arguments)
        for image in (*arguments.values(), *policy.images):
            if re.search(rf"^(FROM |COPY .*--from=){re.escape(image)}(\s|$)", dockerfile, re.MULTILINE):
                _require(image, engine, policy)
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


def _require(image: str, engine: Engine, policy: BuildPolicy) -> None:
    """See that the engine has an image that the organiser allows, so that a build that fails is the submission's fault;
    InfrastructureError otherwise."""
    if engine.find_image(image) is not None:
        return
    commands = {BASE_IMAGE: "harness engine build-base", TORCH_IMAGE: "harness engine build-base --torch"}
    if image in commands:
        raise InfrastructureError(f"the engine has no image {image}", fix=f"{commands[image]} builds it")
    try:
        engine.resolve(image, policy=policy)
    except SubmissionError as error:
        raise InfrastructureError(error.message, fix="correct HARNESS_BUILD_IMAGES, or pull the image first") from error


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
