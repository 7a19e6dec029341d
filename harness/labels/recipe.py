"""Recipe: what test labels and training pairs share: the mask, how well a slice was purified, and the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import __version__
from harness.base.digests import digest_pixels
from harness.base.process import source_commit
from harness.base.slice_cache import keep_slice, slice_path
from harness.base.slices import read_grey
from harness.base.structs import Strict
from harness.dataset.cases import Case, Dataset, refuse_slices
from harness.imaging.blend import STRATEGIES
from harness.imaging.hounsfield import Image, grey
from harness.imaging.lungs import corrected_masks
from harness.imaging.masks import common_mask, remove_background
from harness.imaging.quality import Quality, implausible, quality
from harness.protocol import Purify

Mask = NDArray[np.uint8]


class Purified(Strict, frozen=True, kw_only=True):
    """What was made of one slice: its files (relative to the set's folder) with the SHA-256 of their pixels, how the
    purification went (None where nothing is purified), and, where regions were sought, the fraction on which both
    segmentations agree."""

    files: dict[str, str]
    quality: Quality | None = None
    consensus: float | None = None


def mask_of(case: Case, low: Image, normal: Image, purify: Purify, *, window_hu: tuple[float, float] | None) -> Mask:
    """The recipe's mask of a slice, 255 M, found on grey levels. ValueError says why a slice cannot have one."""
    if not purify.purifies:
        return np.zeros(low.shape, np.uint8)
    low, normal = (grey(one, window_hu) for one in (low, normal))
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
    case: Case,
    mask: Mask,
    purified: Image,
    purify: Purify,
    *,
    low: Image,
    normal: Image,
    window_hu: tuple[float, float] | None,
) -> Quality | None:
    """How purification went, by the case's true regions or else by a segmentation of the normal-dose slice; None where
    nothing is purified."""
    if not purify.purifies:
        return None
    return quality(
        mask,
        grey(purified, window_hu),
        low=grey(low, window_hu),
        normal=grey(normal, window_hu),
        window_hu=window_hu,
        pixel_mm=case.pixel_mm,
        regions=read_grey(Path(case.regions)) if case.regions else None,
    )


def keep(
    folder: Path, name: str, images: Mapping[str, Image], *, line: Quality | None, consensus: float | None = None
) -> Purified:
    """Keep the images of the slice `name` (kind -> image) in a set's folder, with the digests of their pixels."""
    files = {slice_path(kind, name): digest_pixels(image) for kind, image in images.items()}
    return keep_slice(folder, name, images, Purified(files=files, quality=line, consensus=consensus))


def refuse_unpurified(refused: Mapping[str, str], fix: str) -> None:
    """UsageError that names the slices that cannot be purified, with the reasons; nothing where there are none."""
    refuse_slices([f"{name}: {reason}" for name, reason in refused.items()], "cannot be purified", fix)


def implausible_slices(slices: Mapping[str, Purified], purify: Purify) -> list[str]:
    """A line for every slice whose purification does not look right: `<name>: <reason>; <reason>`.

    A strategy that keeps the background in its mask is not blamed for it.
    """
    removed = STRATEGIES[purify.strategy].remove_background
    reasons = {
        name: implausible(made.quality, background_removed=removed) for name, made in slices.items() if made.quality
    }
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
