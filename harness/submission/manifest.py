"""Manifest: folder -> Submission, once its submission.yaml is checked."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from harness.base.digests import NOT_COPIED, digest_folder
from harness.base.errors import UsageError
from harness.base.files import MAX_FOLDER_BYTES, atomic_folder, refuse_existing, write_text
from harness.base.shipped import shipped
from harness.base.structs import Strict, read_yaml
from harness.base.text import shortened, visible
from harness.sandbox import AskedLimits

MANIFEST = "submission.yaml"

NAME_ONE = f"name a folder with a {MANIFEST}, or one of harness list submissions; harness new SLUG makes one"

FORMS = {
    "image": "write image: {build: .} for a folder with a Dockerfile, {archive: image.tar} for a file that docker save "
    'wrote, or {ref: "name@sha256:<64 hex digits>"} for an image of a registry (docker images --digests shows them)',
    "context": "write context: 1 for a neighbour on each side (up to 8), or context: series for whole series",
}
"""How keys of the manifest are written that people tend to write otherwise."""

INSTALLS = (
    "COPY requirements.txt /\nRUN pip install --no-cache-dir -r /requirements.txt\n",
    "# The build has no network: put wheels of what the base image lacks into wheels/ (harness new --package NAME).\n"
    "COPY requirements.txt wheels* /wheels/\n"
    "RUN pip install --no-cache-dir --find-links /wheels -r /wheels/requirements.txt\n",
)
"""How the template installs packages, and how a new submission does: from wheels in its folder, too."""

ANCHOR_PREFIX = "anchor-"
"""Slugs with this prefix are the harness's own reference rows (`harness.scoring.anchors`)."""

NOISY_INPUT = f"{ANCHOR_PREFIX}input"

_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
REF = re.compile(
    rf"(?:(?:localhost|(?=[^/]*[.:])[A-Za-z0-9.-]+)(?::(?P<port>[0-9]{{1,5}}))?/)?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?@sha256:[0-9a-f]{64}"
)
"""An image by digest, as engines spell it."""

MAX_REF = 255

MAX_LIST_BYTES = 64 * 2**20  # of a trained_on.txt: nearly a million slices

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]

InputKind = Literal["uint8", "uint16-hu"]

Context = Annotated[int, msgspec.Meta(ge=1, le=8)] | Literal["series"]
"""What of its series a slice is shown with: so many neighbours on each side, or all of it."""

Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Image(Strict, frozen=True, kw_only=True):
    """Where the image comes from: exactly one of a folder to build, an archive, or a reference by digest."""

    build: str | None = None  # folder with a Dockerfile, within the submission's
    archive: str | None = None  # one image from `docker save`, uncompressed
    ref: str | None = None  # name@sha256:<64 hex digits>, pulled

    def __post_init__(self) -> None:
        given = [value for value in (self.build, self.archive, self.ref) if value is not None]
        if len(given) != 1:
            raise ValueError("image takes exactly one of build, archive, ref")
        found = self.ref is not None and len(self.ref) <= MAX_REF and REF.fullmatch(self.ref)
        if self.ref is not None and (not found or int(found["port"] or 1) not in range(1, 2**16)):
            raise ValueError(
                'image.ref must be a name of lower-case letters with a digest: "name@sha256:<64 hex digits>" (tags can '
                "move)"
            )


class Weights(Strict, frozen=True, kw_only=True):
    """A file of weights that the harness downloads and mounts read-only in /opt/ml/model."""

    url: str  # https; its last part becomes the file's name in /opt/ml/model
    sha256: Sha256


class Takes(Strict, frozen=True, kw_only=True):
    """How a submission takes its slices: their kind, and what it sees beside each."""

    input: InputKind = "uint8"
    context: Context | None = None


class Manifest(Strict, frozen=True, kw_only=True):
    """`submission.yaml`: what a submission says about itself (docs/contract.md)."""

    schema: Literal[1]
    name: Text  # on the leaderboard
    version: Text  # your model's
    authors: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]
    image: Image
    input: InputKind = "uint8"  # what its slices are: grey levels in 8 bits, or HU + 8192 in 16
    context: Context | None = None  # so many neighbours on each side of a slice, or all of its series, in order
    gpu: Literal["none", "optional", "required"] = "none"  # optional: use a GPU if there is one, else the CPU
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
    trained_on: str | None = None  # a trained_on.txt that harness pairs wrote; refused if it lists a test slice
    deterministic: bool = True  # false where two runs may differ

    @property
    def takes(self) -> Takes:
        """How it takes its slices."""
        return Takes(input=self.input, context=self.context)

    def __post_init__(self) -> None:
        for key, texts in {"name": [self.name], "version": [self.version], "authors": self.authors}.items():
            if not all(visible(text).strip() for text in texts):
                raise ValueError(f"{key}: nothing of {''.join(texts)!a} can be seen")


class Submission(Strict, frozen=True, kw_only=True):
    """A checked submission: its folder, its manifest, and the digest of everything in the folder."""

    slug: str
    folder: str
    manifest: Manifest
    digest: str


def check_slug(slug: str) -> str:
    """The slug itself; UsageError if it cannot be a path and a URL, or is reserved for the harness."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", slug):
        raise UsageError(
            f"{slug!r} cannot be a slug, the folder name that becomes a path and a URL",
            fix="use only a-z, 0-9, - and _, at most 64 characters, and begin with a letter or digit",
        )
    if slug.startswith(ANCHOR_PREFIX):
        raise UsageError(
            f"{slug!r}: names that begin with {ANCHOR_PREFIX!r} are reserved for the harness's own reference rows",
            fix="choose another name",
        )
    return slug


def load_submission(folder: Path | str) -> Submission:
    """Read and check `<folder>/submission.yaml`. UsageError names the file and the mistake.

    The slug is the folder's name: lower-case letters, digits, hyphens or underscores (it becomes a path and a URL).
    """
    path = Path(folder)
    if not path.is_dir():
        raise UsageError(f"{path}: no such folder", fix=NAME_ONE)
    slug = check_slug(path.resolve().name)
    # through a link our messages could quote any file of this machine
    if (path / MANIFEST).is_symlink() or not (path / MANIFEST).is_file():
        raise UsageError(
            f"{path}: has no {MANIFEST} (a file, not a link)", fix="harness new SLUG makes a folder with one"
        )
    manifest = read_yaml(path / MANIFEST, Manifest, forms=FORMS)
    if manifest.image.build is not None:
        _check_named(path, "image.build", manifest.image.build, folder=True)
    if manifest.image.archive is not None:
        _check_named(path, "image.archive", manifest.image.archive)
    if manifest.trained_on is not None:
        _check_named(path, "trained_on", manifest.trained_on, max_bytes=MAX_LIST_BYTES)
    return Submission(slug=slug, folder=str(path), manifest=manifest, digest=digest_folder(path))


def _check_named(
    submission: Path, key: str, value: str, *, folder: bool = False, max_bytes: int = MAX_FOLDER_BYTES
) -> None:
    """UsageError unless `value` names a regular file of at most `max_bytes` (or a folder) within the submission's
    folder, and one that its digest covers."""
    what = f"{submission / MANIFEST}: {key} {shortened(ascii(value), 100)}"
    top = submission.resolve()
    try:
        target = (submission / value).resolve()
        right = target.is_dir() if folder else target.is_file()
        there = target.exists()
        size = target.stat().st_size if there else 0
    except (OSError, ValueError, RuntimeError) as error:  # too long, no text, a link in a circle
        raise UsageError(f"{what} cannot be a path: {error}", fix=f"correct {key}") from None
    if not target.is_relative_to(top):
        raise UsageError(f"{what} lies outside the submission's folder", fix="copy it into the folder")
    if not there:
        raise UsageError(f"{what} does not exist", fix=f"correct {key}")
    if not right:
        raise UsageError(f"{what} is no {'folder' if folder else 'regular file'}", fix=f"correct {key}")
    if size > max_bytes:
        raise UsageError(f"{what} has {size} bytes, at most {max_bytes} are allowed", fix=f"correct {key}")
    if not NOT_COPIED.isdisjoint(target.relative_to(top).parts):
        raise UsageError(f"{what} lies in one of {', '.join(sorted(NOT_COPIED))}, which are left out", fix="move it")


def new_submission(into: Path, slug: str, *, name: str, authors: Sequence[str]) -> Path:
    """Copy the template to `<into>/<slug>` and fill in `name` and `authors`; returns the folder.

    UsageError if the slug is not valid, the folder exists, or the manifest cannot hold that name or those authors.
    """
    folder = into / check_slug(slug)
    refuse_existing(folder)
    template = shipped("submissions/template")
    with atomic_folder(folder) as part:
        shutil.copytree(template, part, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        text = (part / MANIFEST).read_text()
        text = text[text.index("schema:") :]  # the lines above it explain how to copy the template
        # JSON's strings and lists are valid YAML
        for key, value in (("name", name), ("authors", list(authors) or ["you"])):
            before, _, after = text.partition(f"\n{key}: ")
            text = f"{before}\n{key}: {json.dumps(value, ensure_ascii=False)}\n{after.partition(chr(10))[2]}"
        # what the template says of itself is no description of a model
        text = re.sub(r"(?m)^(description|license): .*$", r"# \1: of your model", text)
        write_text(part / MANIFEST, text)
        dockerfile = part / "Dockerfile"  # the template's own is part of a record's digest
        dockerfile.write_text(dockerfile.read_text().replace(*INSTALLS))
        try:
            read_yaml(part / MANIFEST, Manifest)
        except UsageError as error:
            said = error.message.replace(str(part), str(folder))
            raise UsageError(said, fix="correct --name or --author") from None
    return folder
