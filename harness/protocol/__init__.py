"""Protocol: one benchmark as a file. Name or path -> Protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from harness.base.digests import digest_json
from harness.base.errors import UsageError
from harness.base.shipped import shipped
from harness.base.structs import Strict, read_json, read_yaml
from harness.imaging.anatomy import Anatomy
from harness.imaging.blend import STRATEGIES, StrategyName
from harness.imaging.insertion import Scanner
from harness.imaging.regions import Region
from harness.protocol.anatomy import check_anatomy
from harness.protocol.data import (
    PHANTOM_WINDOW_HU,
    Data,
    FolderData,
    Lesions,
    PhantomData,
    Positive,
    ScansData,
)
from harness.sandbox import Limits

__all__ = [
    "PHANTOM_WINDOW_HU",
    "Coupled",
    "FidelityGate",
    "FolderData",
    "LesionGate",
    "Lesions",
    "Metric",
    "Noise",
    "OfficialSet",
    "OfficialSlice",
    "PhantomData",
    "Protocol",
    "Publish",
    "Purify",
    "RankBy",
    "Reference",
    "ScansData",
    "find_protocol",
    "load_protocol",
    "official_file",
    "protocol_names",
    "protocol_path",
]

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,63}\Z")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]

UNREAD = ("title", "description", "publish", "official", "use")


class Noise(Strict, frozen=True, kw_only=True):
    """Corrected Add Noise: the scanner that made the normal-dose slices, and the dose to simulate."""

    dose: Annotated[float, msgspec.Meta(gt=0, lt=1)]  # as a share of the normal dose
    scanner: Scanner


class Purify(Strict, frozen=True, kw_only=True):
    """How test labels and training pairs are made from pairs of a low-dose and a normal-dose slice.

    `strategy: none` purifies nothing: the label is the normal-dose slice, and a training pair is the pair as it is. It
    is for pairs that show one plane, as simulated low-dose scans do, and the only one where no organ is dark.
    `weak_denoiser` names a file of `harness/imaging/denoise` or, if it contains a slash, the folder of a submission.
    `noise` is what the corrected variant adds to training inputs; the published variant always adds the same.
    """

    strategy: StrategyName = "ipv2"
    variant: Literal["published", "corrected"] = "published"
    weak_denoiser: str = "nlm"
    noise: Noise | None = None

    @property
    def purifies(self) -> bool:
        """Whether labels are anything else than the normal-dose slices."""
        return STRATEGIES[self.strategy].purifies

    @property
    def removes_noise(self) -> bool:
        """Whether a weak denoiser makes part of the test labels."""
        return STRATEGIES[self.strategy].remove_noise

    @property
    def weak_submission(self) -> Path | None:
        """The folder of the submission that serves as weak denoiser, None for a built-in one."""
        return Path(self.weak_denoiser) if "/" in self.weak_denoiser else None

    def is_circular(self, slug: str, family: tuple[str, ...]) -> bool:
        """Whether a submission is, or is related to, the weak denoiser that made the labels it would be judged by."""
        weak = self.weak_submission.name if self.weak_submission else self.weak_denoiser
        return self.removes_noise and (weak in family or (self.weak_submission is not None and weak == slug))


class Metric(Strict, frozen=True, kw_only=True):
    """One metric: its name on the board and in `harness/metrics`, and the extractor of its features, if any.

    `definition` says how features of a region are computed: `pooled` averages the extractor's maps over the region,
    `masked` blanks everything outside it and runs the whole network again. Never compare values of the two.
    A `descriptive` metric is shown, but neither ranks nor gates.
    """

    name: str  # on the board; no two metrics may share one
    metric: str  # the name of a file in harness/metrics, or `file.name` of one that holds several
    features: str | None = None  # the extractor: required for distribution metrics, forbidden for image metrics
    definition: Literal["pooled", "masked"] = "pooled"
    descriptive: bool = False  # shown without saying which value is better


Reference = Literal["label", "truth", "coupled"]
"""What an error is measured against: the purified label, the phantom's truth, or the input's own kept noise."""


class RankBy(Strict, frozen=True, kw_only=True):
    """The value that ranks submissions, and what it is computed against.

    `coupled` is the error without truth (`Protocol.coupled`), whose metric is RMSE.
    """

    metric: str  # the name of one of the protocol's metrics
    region: Region = "whole"
    reference: Reference = "label"


class LesionGate(Strict, frozen=True, kw_only=True):
    """The lesion gate: a record of which the observer sees lesions worse than in the noisy input ranks below all that
    keep them.

    Compared is d', averaged over the conditions: a record loses lesions if the interval of its difference from the
    noisy input's (paired, jackknife over patients) lies below minus `margin` times the noisy input's, or if the
    difference itself lies below minus twice that.
    """

    observer: Literal["hotelling", "eye"] = "hotelling"
    margin: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0


class Coupled(Strict, frozen=True, kw_only=True):
    """Error without truth: noise of this scanner and dose is added to and taken from every noisy slice, `strength`
    times, and the container denoises both, each in a run of its own (`harness.imaging.coupled`).

    `harness noise` writes `scanner` and `dose` as they stand here. With `calibrate` the added noise is scaled to what
    the slices show.
    """

    scanner: Scanner
    dose: Annotated[float, msgspec.Meta(gt=0, le=1)]  # of the noisy slices, as a share of the scanner's photons
    strength: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.2
    calibrate: bool = True


class FidelityGate(Strict, frozen=True, kw_only=True):
    """The paired fidelity gate: a record ranks only if its `metric` in `region` is at most `times_input` times the
    noisy input's own value. FID and KID ignore pairing, so without the gate sharp but unrelated images would win."""

    metric: str = "RMSE"
    region: Region = "whole"
    times_input: Annotated[float, msgspec.Meta(gt=0)] = 1.0


class Publish(Strict, frozen=True, kw_only=True):
    """What records may show; switch it off where slices are patient data that must not be published."""

    logs: bool = True  # what containers print, in records and messages
    images: bool = True  # slices of outputs, inputs and labels


class OfficialSlice(Strict, frozen=True, kw_only=True, omit_defaults=True):
    """One slice of an official test set: its pixel size in mm, and the SHA-256 (hex) of shape and pixels
    (`harness.base.digests.digest_pixels`) of each of its images, of its label and of its region map. `further` are
    those of its further images by kind (`harness.dataset.from_phantom.image_kinds`). `images` is that of all images of
    a phantom's slice and the sites of its lesions, from which the digest of the whole set follows."""

    name: str
    pixel_mm: float | None = None
    images: Sha256 | None = None
    lq: Sha256
    gt: Sha256
    truth: Sha256 | None = None
    aligned_gt: Sha256 | None = None
    regions: Sha256
    label: Sha256
    further: dict[str, Sha256] = msgspec.field(default_factory=dict)


class OfficialSet(Strict, frozen=True, kw_only=True):
    """The bytes on which a protocol version ranks, as digests: the content of `<name>-<version>.slices.json`.

    `data` and `labels` are the digests that records state. `data_recipe` and `label_recipe` are those of the parts of
    the protocol that made data and labels: a protocol that says something else there has no official bytes.
    """

    schema: Literal[1] = 1
    name: Name
    version: Positive
    data_recipe: Sha256
    label_recipe: Sha256
    window_hu: tuple[float, float] | None = None
    data: Sha256
    labels: Sha256
    slices: tuple[OfficialSlice, ...]


class Protocol(Strict, frozen=True, kw_only=True):
    """One benchmark. Its identity is `name` with `version`: different versions never rank together."""

    schema: Literal[1]
    name: Name
    version: Positive  # raise it with every change of the benchmark
    title: str
    data: Data
    description: str = ""
    anatomy: Anatomy = "chest"  # decides how regions are found and what purification may do (anatomy.md)
    purify: Purify = Purify()
    regions: tuple[Region, ...] = ("whole", "background", "body", "lung")  # every metric is computed in each
    metrics: tuple[Metric, ...]  # columns of the board
    rank_by: RankBy
    gate: FidelityGate = FidelityGate()
    lesion_gate: LesionGate | None = None
    coupled: Coupled | None = None
    limits: Limits = Limits()
    publish: Publish = Publish()
    use: Literal["test", "train"] = "test"  # train: for `harness pairs` alone, never scored
    seed: Annotated[int, msgspec.Meta(ge=0)] = 2602  # HARNESS_SEED; also seeds the noise of training inputs
    official: OfficialSet | None = None  # never in the .yaml: `load_protocol` reads it from the file beside that

    def __post_init__(self) -> None:
        check_anatomy(self.anatomy, self.regions, self.purify.strategy, self.data)
        names = [metric.name for metric in self.metrics]
        if len(set(names)) != len(names):
            raise ValueError(f"metric names must differ, found {names}")
        if len(set(self.regions)) != len(self.regions):
            raise ValueError(f"regions must differ, found {list(self.regions)}")
        by: RankBy | FidelityGate
        for role, by in (("rank_by", self.rank_by), ("gate", self.gate)):
            if by.metric not in names:
                raise ValueError(f"{role}.metric {by.metric!r} is not among the metrics {names}")
            if by.region not in self.regions:
                raise ValueError(f"{role}.region {by.region!r} is not among the regions {list(self.regions)}")
        if self.coupled is not None and isinstance(self.data, FolderData):
            unknown = [key for key in ("window_hu", "pixel_mm") if getattr(self.data, key) is None]
            if unknown:
                raise ValueError(f"`coupled` needs HU and mm: state {' and '.join(f'data.{key}' for key in unknown)}")

    @property
    def identity(self) -> str:
        """`<name>-<version>`, the folder name of its records."""
        return f"{self.name}-{self.version}"

    @property
    def digest(self) -> str:
        """SHA-256 of the resolved protocol, defaults filled in, without what no value depends on (`UNREAD`)."""
        plain = self._plain()
        return digest_json({key: plain[key] for key in plain if key not in UNREAD})

    @property
    def data_recipe(self) -> str:
        """SHA-256 of what the protocol says of its data, coupled noise included."""
        plain = self._plain()
        return digest_json([plain["data"], plain["coupled"]] if "coupled" in plain else plain["data"])

    @property
    def label_recipe(self) -> str:
        """SHA-256 of what the protocol says of how labels are made of the data."""
        other = [] if self.anatomy == "chest" else [self.anatomy]
        return digest_json([self.purify.strategy, self.purify.variant, self.purify.weak_denoiser, *other])

    @property
    def official_data(self) -> OfficialSet | None:
        """The official test set, if there is one of the data that the protocol describes."""
        return self.official if self.official and self.official.data_recipe == self.data_recipe else None

    @property
    def official_labels(self) -> OfficialSet | None:
        """The official test set, if there is one of these data and of labels made as the protocol says."""
        official = self.official_data
        return official if official is not None and official.label_recipe == self.label_recipe else None

    def _plain(self) -> dict[str, Any]:
        """The protocol as plain data. Keys added after the first records are there only where they are used, so that
        those records stay valid."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        if self.anatomy == "chest":
            del plain["anatomy"]
        if self.purify.noise is None:
            del plain["purify"]["noise"]
        if plain["data"].get("nodule_slices") == 0:
            del plain["data"]["nodule_slices"]
        if isinstance(self.data, PhantomData) and self.data.window == PHANTOM_WINDOW_HU:
            plain["data"].pop("window_hu", None)
        for key in ("lesion_gate", "coupled"):
            if plain[key] is None:
                del plain[key]
        if plain["rank_by"]["reference"] == "label":
            del plain["rank_by"]["reference"]
        for metric in plain["metrics"]:
            if metric["definition"] == "pooled":
                del metric["definition"]
            if not metric["descriptive"]:
                del metric["descriptive"]
        return plain


def protocol_path(name: str) -> Path:
    """The file of a named protocol: `protocols/<name>.yaml` here if there is one, else the one that comes with the
    harness (which may be missing)."""
    here = Path("protocols") / f"{name}.yaml"
    return here if here.is_file() else shipped("protocols") / f"{name}.yaml"


def protocol_names() -> list[str]:
    """The names that `load_protocol` knows: those in `protocols/` here and those that come with the harness."""
    return sorted({path.stem for folder in (Path("protocols"), shipped("protocols")) for path in folder.glob("*.yaml")})


def find_protocol(name: str) -> Path:
    """The file of a protocol that is given by name (`protocol_path`) or as a .yaml file. UsageError for an unknown
    name."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    path = protocol_path(name)
    if not path.is_file():
        raise UsageError(
            f"no protocol {name!r} (known: {', '.join(protocol_names())})",
            fix="choose one of harness list protocols, or give the path of a .yaml file",
        )
    return path


def official_file(path: Path, protocol: Protocol) -> Path:
    """Where the digests of a protocol's official test set lie: beside its .yaml file `path`."""
    return path.parent / f"{protocol.identity}.slices.json"


def load_protocol(name: str, *, official: bool = True) -> Protocol:
    """Read a protocol by name (`protocol_path`) or by the path of a .yaml file, with the digests of its official test
    set where the file of them lies beside it (unless `official` is False).

    UsageError names file and mistake.
    """
    path = find_protocol(name)
    protocol = read_yaml(path, Protocol)
    if protocol.official is not None:
        raise UsageError(f"{path}: unknown key official", fix="remove it: digests have a file of their own")
    digests = official_file(path, protocol)
    if not official or not digests.exists():
        return protocol
    if not digests.is_file():
        raise UsageError(f"{digests}: expected a plain file, found something else", fix="restore or remove it")
    protocol = msgspec.structs.replace(protocol, official=read_json(digests, OfficialSet))
    found = protocol.official
    if found is None or found != protocol.official_labels or f"{found.name}-{found.version}" != protocol.identity:
        raise UsageError(
            f"{digests}: holds the digests of another protocol, or of another text of {protocol.identity}: name, "
            f"version, data or purify differ from {path}",
            fix="raise the protocol's version, since a changed benchmark is a new one; while it has no records, remove "
            f"the file and write it again: harness data digests -p {name}",
        )
    return protocol
