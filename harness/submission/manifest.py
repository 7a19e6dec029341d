"""Submission: folder -> Submission, its manifest checked."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from harness.base.digests import digest_folder
from harness.base.errors import UsageError
from harness.base.files import atomic_folder
from harness.base.shipped import shipped
from harness.base.structs import Strict, read_yaml
from harness.sandbox import AskedLimits

MANIFEST = "submission.yaml"

ANCHOR_PREFIX = "anchor-"
"""Slugs that begin so are the harness's own reference rows (`harness.scoring.anchors`)."""

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]

Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class Image(Strict, frozen=True, kw_only=True):
    """Where the image comes from: exactly one of a build folder, an archive, or a reference by digest."""

    build: str | None = None  # folder with a Dockerfile, within the submission's
    archive: str | None = None  # one image from `docker save`, uncompressed
    ref: str | None = None  # name@sha256:<64 hex digits>, pulled

    def __post_init__(self) -> None:
        given = [value for value in (self.build, self.archive, self.ref) if value is not None]
        if len(given) != 1:
            raise ValueError("image takes exactly one of build, archive, ref")
        if self.ref is not None and not re.fullmatch(r"[^@\s]+@sha256:[0-9a-f]{64}", self.ref):
            raise ValueError('image.ref must name a digest: "name@sha256:<64 hex digits>" (tags can move)')


class Weights(Strict, frozen=True, kw_only=True):
    """A file of weights that the harness fetches and mounts read-only under /opt/ml/model."""

    url: str  # https; its last part is the file's name under /opt/ml/model
    sha256: Sha256


class Manifest(Strict, frozen=True, kw_only=True):
    """`submission.yaml`: what a submission says of itself (docs/contract.md)."""

    schema: Literal[1]
    name: Text  # on the leaderboard
    version: Text  # your model's
    authors: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]
    image: Image
    gpu: Literal["none", "optional", "required"] = "none"  # optional: a GPU where there is one, else the CPU
    anchor: bool = False  # a reference row (the noisy input itself): shown, never ranked
    description: str = ""
    license: str = ""
    code: str = ""  # where its source is
    paper: str = ""  # what to cite
    contact: str = ""
    weights: tuple[Weights, ...] = ()  # fetched before the run
    limits: AskedLimits | None = None  # only to ask for less than the protocol grants
    family: tuple[str, ...] = ()  # weak denoisers that it shares code or weights with
    training_data: str = ""
    trained_on: str | None = None  # a trained_on.txt, as harness pairs writes it: refused if a test slice is in it
    deterministic: bool = True  # false where two runs may differ


class Submission(Strict, frozen=True, kw_only=True):
    """A checked submission: where it lies, what it says, and the digest of everything in its folder."""

    slug: str
    folder: str
    manifest: Manifest
    digest: str


def check_slug(slug: str) -> str:
    """The slug itself; UsageError where it is no path and URL, or one of the harness's own."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", slug):
        raise UsageError(
            f"{slug!r} cannot be a slug, as the folder of a submission is", fix="use a-z, 0-9, - and _ only"
        )
    if slug.startswith(ANCHOR_PREFIX):
        raise UsageError(f"{slug!r}: slugs that begin with {ANCHOR_PREFIX!r} are the harness's own reference rows")
    return slug


def load_submission(folder: Path | str) -> Submission:
    """Read and check `<folder>/submission.yaml`. UsageError names file and mistake.

    The slug is the folder's name: small letters, digits, hyphens or underscores (it becomes a path and a URL).
    """
    path = Path(folder)
    if not path.is_dir():
        raise UsageError(
            f"{path}: no such folder",
            fix="name a folder with a submission.yaml; harness new SLUG makes one",
        )
    slug = check_slug(path.resolve().name)
    if not (path / MANIFEST).is_file():
        raise UsageError(f"{path}: has no {MANIFEST}", fix="harness new SLUG makes a folder with one")
    manifest = read_yaml(path / MANIFEST, Manifest)
    named = {"image.build": manifest.image.build, "image.archive": manifest.image.archive}
    for key, value in (named | {"trained_on": manifest.trained_on}).items():
        if value is None:
            continue
        target = (path / value).resolve()
        if not target.is_relative_to(path.resolve()):
            raise UsageError(f"{path / MANIFEST}: {key} {value!r} lies outside the submission's folder")
        if not target.exists():
            raise UsageError(f"{path / MANIFEST}: {key} {value!r} does not exist")
    return Submission(slug=slug, folder=str(path), manifest=manifest, digest=digest_folder(path))


def new_submission(into: Path, slug: str, *, name: str, authors: Sequence[str]) -> Path:
    """Copy the template to `<into>/<slug>` under its own name and authors; returns the folder.

    UsageError where the slug cannot be one, the folder exists, or name or authors cannot stand in a manifest.
    """
    folder = into / check_slug(slug)
    if folder.exists():
        raise UsageError(f"{folder}: exists already", fix="choose another name, or remove it first")
    template = shipped("submissions/template")
    with atomic_folder(folder) as part:
        shutil.copytree(template, part, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        text = (part / MANIFEST).read_text()
        text = text[text.index("schema:") :]  # above it stands how to copy
        # JSON's texts and lists are YAML's
        for key, value in (("name", json.dumps(name)), ("authors", json.dumps(list(authors) or ["you"]))):
            before, _, after = text.partition(f"\n{key}: ")
            text = f"{before}\n{key}: {value}\n{after.partition(chr(10))[2]}"
        (part / MANIFEST).write_text(text)
        read_yaml(part / MANIFEST, Manifest)
    return folder
