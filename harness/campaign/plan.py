"""Plan: the organiser's file -> every job of a campaign, with what it takes, settled before the first one starts.

What Snakemake reads is the result (`campaign.json`): no job looks at the other submissions again.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET

from harness.base.errors import UsageError
from harness.base.files import refuse_unwritable
from harness.base.structs import Strict, read_json, read_yaml, write_json
from harness.pipeline.data import refuse_training_set
from harness.protocol import Protocol, load_protocol
from harness.protocol.data import PhantomData
from harness.submission.manifest import NAME_ONE, Submission, load_submission

Kind = Literal["labels", "run", "gpu", "score"]
Resources = dict[str, str | int | float]
NAME_PROTOCOL = "name a protocol (harness list protocols) or its .yaml file"

BUILD_S, OWN_GB = 1800, 2.0  # for the image, and for the harness beside the container
USUAL: dict[Kind, Resources] = {
    "labels": {"threads": 4, "mem_mb": 8000, "runtime": 240},
    "run": {},  # by the protocol's limits
    "gpu": {"gpu": 1},
    "score": {"threads": 4, "mem_mb": 8000, "runtime": 120},
}
"""What a job takes by default, by Snakemake's names: threads, MB, minutes."""


class Plan(Strict, frozen=True, kw_only=True):
    """The organiser's file. Paths are those of the folder in which the command is given."""

    schema: Literal[1]
    submissions: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]  # folders; * and ? stand for many
    protocols: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]  # names or .yaml files
    seeds: tuple[Annotated[int, msgspec.Meta(ge=0)], ...] = ()  # each makes a protocol of its own of every protocol
    doses: tuple[Annotated[float, msgspec.Meta(gt=0, le=1)], ...] = ()  # the same, of the phantom
    leaderboard: str = "leaderboard"
    folder: str | None = None  # of the campaign; default: the plan's name with .campaign in place of .yaml
    features_on: Literal["cpu", "cuda"] = "cpu"
    retries: Annotated[int, msgspec.Meta(ge=0, le=20)] = 2  # of a job that ended without a result
    resources: dict[Kind, Resources] = msgspec.field(
        default_factory=dict
    )  # in place of or beside the usual ones, by Snakemake's names


class Cell(Strict, frozen=True, kw_only=True):
    """One submission on one protocol: a run and a score. `protocol` and `submission` are keys that hold digests, so
    that results of another text are never taken for these."""

    protocol: str
    submission: str
    identity: str  # of the protocol
    slug: str
    folder: str
    digest: str
    kind: Literal["run", "gpu"]
    takes: Resources

    @property
    def path(self) -> str:
        """Where its files are below a folder of the campaign."""
        return f"{self.protocol}/{self.submission}"


class Refused(Strict, frozen=True, kw_only=True):
    """A submission that no job is made for, as its manifest cannot be used."""

    folder: str
    exit_status: int
    message: str


class Campaign(Strict, frozen=True, kw_only=True):
    """`campaign.json` in the folder of the campaign: all that its jobs need to know."""

    schema: Literal[1] = 1
    python: str
    start: str  # the folder that relative paths start from
    leaderboard: str
    features_on: str
    protocols: tuple[str, ...]  # keys; protocols/<key>.json
    cells: tuple[Cell, ...]
    refused: tuple[Refused, ...]
    retries: int
    resources: dict[Kind, Resources]

    def cell(self, protocol: str, submission: str) -> Cell:
        """The cell of these keys."""
        return next(one for one in self.cells if (one.protocol, one.submission) == (protocol, submission))


def read_plan(path: Path) -> tuple[Plan, Path]:
    """The plan and the absolute folder of its campaign. UsageError names the place of a mistake."""
    plan = read_yaml(path, Plan)
    folder = Path(plan.folder) if plan.folder is not None else path.with_suffix(".campaign")
    refuse_unwritable(folder)
    refuse_unwritable(Path(plan.leaderboard))
    return plan, folder.absolute()


def settle(plan: Plan, folder: Path) -> Campaign:
    """Write what the jobs of a campaign need to its folder, and return it.

    A submission whose manifest is wrong is refused, and the others go on. UsageError for a protocol that cannot be
    used, for a pattern that fits no folder and for two folders of one name.
    """
    protocols = [one for name in plan.protocols for one in _varied(load_protocol(name), plan)]
    for protocol in protocols:
        refuse_training_set(protocol)
    keys = [f"{one.identity}-{one.digest[:8]}" for one in protocols]
    if len(set(keys)) < len(keys):
        raise UsageError(f"a protocol is named twice: {', '.join(plan.protocols)}", fix="name each once")
    entries, refused = _entries(plan.submissions)
    campaign = Campaign(
        python=sys.executable,
        start=str(Path.cwd()),
        leaderboard=str(Path(plan.leaderboard).absolute()),
        features_on=plan.features_on,
        protocols=tuple(keys),
        cells=tuple(
            _cell(entry, protocol, key) for key, protocol in zip(keys, protocols, strict=True) for entry in entries
        ),
        refused=tuple(refused),
        retries=plan.retries,
        resources={kind: {**USUAL[kind], **plan.resources.get(kind, {})} for kind in USUAL},
    )
    for key, protocol in zip(keys, protocols, strict=True):
        write_json(folder / "protocols" / f"{key}.json", protocol)
    write_json(folder / "campaign.json", campaign)
    return campaign


def read_campaign(folder: Path) -> Campaign:
    """What `settle` wrote."""
    return read_json(folder / "campaign.json", Campaign)


def read_protocol(folder: Path, key: str) -> Protocol:
    """A protocol of the campaign, as it was when the campaign began."""
    return read_json(folder / "protocols" / f"{key}.json", Protocol)


def _varied(protocol: Protocol, plan: Plan) -> Iterator[Protocol]:
    """The protocol once for each seed and dose, under names of their own: what differs in them never ranks together."""
    for dose in plan.doses or (None,):
        for seed in plan.seeds or (None,):
            name, title, data, official = protocol.name, protocol.title, protocol.data, protocol.official
            if dose is not None:
                if not isinstance(data, PhantomData):
                    raise UsageError(
                        f"doses: {protocol.name} has slices of its own, whose dose is what it is",
                        fix="leave doses out, or name protocols of the phantom",
                    )
                data, official = msgspec.structs.replace(data, dose=dose), None
                name += f"-dose-{100 * dose:.6f}".rstrip("0").rstrip(".").replace(".", "-") + "pct"
                title += f", dose {100 * dose:g} %"
            if seed is not None:
                name, title = f"{name}-seed-{seed}", f"{title}, seed {seed}"
            varied = {"name": name, "title": title, "data": data, "official": official}
            if name != protocol.name:
                varied["official"] = None  # its digests are those of the name
            yield msgspec.structs.replace(protocol, **varied, seed=protocol.seed if seed is None else seed)


def _entries(patterns: Sequence[str]) -> tuple[list[Submission], list[Refused]]:
    folders: dict[str, Path] = {}
    for pattern in patterns:
        path = Path(pattern).expanduser()
        found = [one for one in sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor)))) if one.is_dir()]
        if not found:
            raise UsageError(f"submissions: {pattern!r} fits no folder", fix=NAME_ONE)
        for path in found:
            if folders.setdefault(path.resolve().name, path).resolve() != path.resolve():
                raise UsageError(
                    f"submissions: {folders[path.resolve().name]} and {path} have one name", fix="rename one"
                )
    entries, refused = [], []
    for path in folders.values():
        try:
            entries.append(load_submission(path))
        except UsageError as error:  # the others go on
            refused.append(Refused(folder=str(path), exit_status=error.exit_code, message=error.message))
    return entries, refused


def _cell(entry: Submission, protocol: Protocol, key: str) -> Cell:
    limits, gpu = protocol.limits, entry.manifest.gpu
    memory_gb = limits.memory_gb + limits.tmp_gb + limits.shm_gb + OWN_GB
    return Cell(
        protocol=key,
        submission=f"{entry.slug}-{entry.digest[:8]}",
        identity=protocol.identity,
        slug=entry.slug,
        folder=entry.folder,
        digest=entry.digest,
        kind="run" if gpu == "none" else "gpu",
        takes={
            "threads": math.ceil(limits.cpus),
            "mem_mb": math.ceil(memory_gb * 1000),
            "runtime": math.ceil((limits.wall_s * most_rounds(protocol) + BUILD_S) / 60),
        },
    )


def most_rounds(protocol: Protocol) -> int:
    """How many containers a run starts one after another, at most: as many as a plane has images
    (`harness.run.staging.rounds_of`), each with the protocol's wall time."""
    images = 1 if protocol.coupled is None else 3
    if isinstance(protocol.data, PhantomData):
        images += protocol.data.lesions is not UNSET
        images += 0 if protocol.data.realisations is UNSET else protocol.data.realisations - 1
    return images
