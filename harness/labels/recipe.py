"""Purify: what test labels and training pairs share: the mask of a recipe, and slices that are kept as they are made.

Every slice's files are written with a note of their digests beside them. What is there and undamaged is not made again:
a killed run goes on where it was, and of a damaged set only the damaged slices are rebuilt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import __version__
from harness.base.digests import digest_pixels
from harness.base.errors import UsageError
from harness.base.process import source_commit
from harness.base.progress import Progress
from harness.base.slices import read_grey, write_grey
from harness.base.structs import Strict, read_json, write_json
from harness.base.workers import map_slices
from harness.dataset.cases import Case, Dataset, refuse
from harness.imaging.blend import STRATEGIES
from harness.imaging.lungs import corrected_masks
from harness.imaging.masks import common_mask, remove_background
from harness.imaging.quality import Quality, implausible, quality
from harness.protocol import Purify

Image = NDArray[np.uint8]


class Purified(Strict, frozen=True, kw_only=True):
    """What was made of one slice: its files (relative to the set's folder) with the SHA-256 of their pixels, how the
    purification went, and, where regions were sought, the fraction on which both segmentations agree."""

    files: dict[str, str]
    quality: Quality
    consensus: float | None = None


class Refused(Strict, frozen=True, kw_only=True):
    """Why a slice cannot be purified."""

    reason: str


def mask_of(case: Case, low: Image, normal: Image, purify: Purify, *, window_hu: tuple[float, float] | None) -> Image:
    """The recipe's mask of a slice, 255 M. ValueError says why a slice cannot have one."""
    if low.shape[0] != low.shape[1] and purify.variant == "published":
        raise ValueError(
            f"not square: {low.shape[0]} x {low.shape[1]} (height x width), which the published code would shrink; "
            "crop or pad it, or use variant: corrected"
        )
    lungs_only = STRATEGIES[purify.strategy].remove_background
    if purify.variant == "corrected":
        masks = corrected_masks(low, normal, window_hu=window_hu, pixel_mm=case.pixel_mm)
        return masks.lungs if lungs_only else masks.common
    common = common_mask(low, normal)
    return remove_background(common) if lungs_only else common


def quality_of(
    case: Case, mask: Image, purified: Image, *, low: Image, normal: Image, window_hu: tuple[float, float] | None
) -> Quality:
    """How purification went, by the case's true regions or else by a segmentation of the normal-dose slice."""
    return quality(
        mask,
        purified,
        low=low,
        normal=normal,
        window_hu=window_hu,
        pixel_mm=case.pixel_mm,
        regions=read_grey(Path(case.regions)) if case.regions else None,
    )


def keep(
    folder: Path, name: str, images: Mapping[str, Image], *, line: Quality, consensus: float | None = None
) -> Purified:
    """Write the images of the slice `name` (kind -> image) as `<kind>/<name>.png`, then the note of them."""
    files = {f"{kind}/{name}.png": image for kind, image in images.items()}
    for path, image in files.items():
        write_grey(folder / path, image)
    made = Purified(
        files={path: digest_pixels(image) for path, image in files.items()}, quality=line, consensus=consensus
    )
    write_json(notes_folder(folder) / f"{name}.json", made)
    return made


def build_slices(
    folder: Path,
    cases: Sequence[Case],
    make: Callable[..., Purified | Refused],
    arguments: Callable[[Case], tuple[Any, ...]],
    *,
    progress: Progress | None,
) -> tuple[dict[str, Purified], dict[str, str]]:
    """`make(case, *arguments(case), folder)` on all cores for every slice that is not in `folder` yet or is damaged.

    Returns what there is by case name, and the reasons of the slices that `make` refused.
    """
    there = {case.name: made for case in cases if (made := _intact(folder, case.name)) is not None}
    missing = [case for case in cases if case.name not in there]
    total, done_before = len(cases), len(there)
    results = map_slices(
        make,
        [(case, *arguments(case), str(folder)) for case in missing],
        progress=None if progress is None else lambda done, _: progress(done_before + done, total),
    )
    refused: dict[str, str] = {}
    for case, result in zip(missing, results, strict=True):
        if isinstance(result, Refused):
            refused[case.name] = result.reason
        else:
            there[case.name] = result
    return {case.name: there[case.name] for case in cases if case.name in there}, refused


def refuse_slices(refused: Mapping[str, str], fix: str) -> None:
    """UsageError that names the slices that cannot be purified, with the reasons; nothing where there are none."""
    refuse([f"{name}: {reason}" for name, reason in refused.items()], "cannot be purified", fix)


def implausible_slices(slices: Mapping[str, Purified], purify: Purify) -> list[str]:
    """A line for every slice whose purification does not look right: `<name>: <reason>; <reason>`.

    A strategy that keeps the background in its mask is not blamed for it.
    """
    removed = STRATEGIES[purify.strategy].remove_background
    reasons = {name: implausible(made.quality, background_removed=removed) for name, made in slices.items()}
    return [f"{name}: {'; '.join(found)}" for name, found in reasons.items() if found]


def manifest(dataset: Dataset, purify: Purify, slices: Mapping[str, Purified], **more: Any) -> dict[str, Any]:
    """What a written set is and how it was made, as plain data for `manifest.json`."""
    commit, dirty = source_commit()
    return {
        "harness": {"version": __version__, "commit": commit, "dirty": dirty},
        "data": dataset.digest,
        "window_hu": dataset.window_hu,
        "purify": purify,
        "slices": {
            case.name: {"patient": case.patient, "pixel_mm": case.pixel_mm, "made": slices[case.name]}
            for case in dataset.cases
            if case.name in slices
        },
        **more,
    }


def notes_folder(folder: Path) -> Path:
    """Where the notes of a set's slices lie."""
    return folder / "slices"


def read_note(folder: Path, name: str) -> Purified:
    """What was made of the slice `name`. UsageError where its note is missing or damaged."""
    return read_json(notes_folder(folder) / f"{name}.json", Purified)


def _intact(folder: Path, name: str) -> Purified | None:
    """What a slice's note says, if all its files are as the note says."""
    try:
        made = read_note(folder, name)
        if all(digest_pixels(read_grey(folder / path)) == digest for path, digest in made.files.items()):
            return made
    except (UsageError, OSError):
        pass  # missing or unreadable: made again
    return None
