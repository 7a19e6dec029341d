"""Protocol -> the digests of its official test set, and whether this machine makes these bytes."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.base.errors import UsageError
from harness.base.files import write_text
from harness.base.progress import Reporter
from harness.base.structs import read_json
from harness.dataset.cases import KINDS, Case, Dataset
from harness.dataset.official import (
    Differences,
    differing_images,
    find_imported,
    grey_levels,
    in_words,
    measured,
)
from harness.labels.label_set import differing_labels, label_digests
from harness.pipeline.prepare import LabelledData, prepare_labels
from harness.protocol import OfficialSet, OfficialSlice, Protocol, official_file


def make_here(protocol: Protocol, reporter: Reporter, *, leaderboard: Path) -> LabelledData:
    """Data and labels of a protocol as this machine makes them or has them in its cache, whatever was imported."""
    return prepare_labels(msgspec.structs.replace(protocol, official=None), reporter, leaderboard=leaderboard)


def digests_of(protocol: Protocol, made: LabelledData) -> OfficialSet:
    """Data and labels as the digests of an official test set."""
    labels = label_digests(made.dataset, made.labels)
    return OfficialSet(
        name=protocol.name,
        version=protocol.version,
        data_recipe=protocol.data_recipe,
        label_recipe=protocol.label_recipe,
        window_hu=made.dataset.window_hu,
        data=made.dataset.digest,
        labels=made.labels.digest,
        slices=tuple(_slice_of(made.dataset, case, *labels[case.name]) for case in made.dataset.cases),
    )


def _slice_of(dataset: Dataset, case: Case, label: str, regions: str) -> OfficialSlice:
    pixels = dataset.pixels[case.name]
    return OfficialSlice(
        name=case.name,
        pixel_mm=case.pixel_mm,
        images=dataset.slices.get(case.name),
        further={kind: digest for kind, digest in pixels.items() if kind not in KINDS},
        **{kind: digest for kind, digest in pixels.items() if kind in KINDS and kind != "regions"},
        regions=regions,
        label=label,
    )


def as_text(official: OfficialSet) -> str:
    """An official test set as JSON with one line for each slice, so that a difference shows which slices changed."""
    plain = msgspec.to_builtins(official)
    slices = plain.pop("slices")
    head = "".join(f" {_json(key)}: {_json(value)},\n" for key, value in plain.items())
    return "{\n" + head + ' "slices": [\n' + ",\n".join(f"  {_json(one)}" for one in slices) + "\n ]\n}\n"


def write_digests(protocol: Protocol, path: Path, reporter: Reporter, *, leaderboard: Path) -> tuple[Path, bool]:
    """Write the digests of a protocol's data and labels, as this machine makes them, beside its .yaml file `path`.

    Returns the file and whether it is new. UsageError if it exists and says something else: official bytes never
    change within a version.
    """
    file = official_file(path, protocol)
    made = make_here(protocol, reporter, leaderboard=leaderboard)
    found = digests_of(protocol, made)
    if not file.exists():
        write_text(file, as_text(found))
        return file, True
    there = read_json(file, OfficialSet)
    if there == found:
        return file, False
    changed = {name: dict.fromkeys(kinds) for name, kinds in differing(made, there).items()}
    raise UsageError(
        "\n  ".join(
            [f"{file}: this machine makes other bytes than these digests say:", *(in_words(changed) or ["the head"])]
        ),
        fix="raise the protocol's version, since a changed benchmark is a new one; if it has no records yet, remove "
        "the file and write it again",
    )


def differing(made: LabelledData, official: OfficialSet) -> dict[str, list[str]]:
    """The slices of which images, pixel size, label or region map are not the official ones, and what differs."""
    return differing_images(made.dataset, official) | differing_labels(made.dataset, made.labels, official)


def check_here(protocol: Protocol, reporter: Reporter, *, leaderboard: Path) -> Differences:
    """How what this machine makes differs from a protocol's official test set: by slice and kind of image, in grey
    levels where the official bytes were imported.

    UsageError if the protocol has no official test set.
    """
    official = official_of(protocol)
    made = make_here(protocol, reporter, leaderboard=leaderboard)
    imported = find_imported(official)
    found: dict[str, dict[str, int | None]] = measured(made.dataset, official, imported)
    for name, kinds in differing_labels(made.dataset, made.labels, official).items():
        found[name] = dict.fromkeys(kinds)
        if "label" in kinds and imported is not None and name not in imported.damaged:
            found[name]["label"] = grey_levels([(made.labels.path(name), imported.label(name))])
    if not found and (made.dataset.digest, made.labels.digest) != (official.data, official.labels):
        raise UsageError(
            f"protocol {protocol.identity}: no slice differs from its official test set, but the whole does",
            fix=f"restore {protocol.identity}.slices.json, whose parts do not fit together",
        )
    return found


def official_of(protocol: Protocol) -> OfficialSet:
    """The official test set of a protocol; UsageError if it has none."""
    if protocol.official_labels is None:
        raise UsageError(
            f"protocol {protocol.identity}: has no official test set: beside its .yaml file there is no "
            f"{protocol.identity}.slices.json",
            fix="its organiser writes that file: harness data digests -p, with the protocol's name or .yaml file",
        )
    return protocol.official_labels


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=0).decode()
