"""Staging: Inputs and weights -> the folders that a container may read."""

from __future__ import annotations

import contextlib
import hmac
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np

from harness.base.files import cache_root, private_folder
from harness.base.private_files import installation_secret
from harness.base.slices import write_slices
from harness.base.structs import write_json
from harness.dataset.cases import Inputs, NoisySlice
from harness.imaging.hounsfield import OFFSET_HU, Image, Window
from harness.run.context import Told

PIXELS_HU = {"pixels": "uint16-hu", "offset_hu": OFFSET_HU, "slope_hu": 1}
"""What the manifest of the inputs says where their pixels are HU: HU = slope_hu * value - offset_hu."""


def opaque_names(dataset: Inputs) -> dict[str, NoisySlice]:
    """The slices by the names that a container sees, sorted by them, so that neither name nor order reveals a slice."""
    keyed = _Keyed(dataset)
    return dict(sorted((keyed(one.name)[:16], one) for one in dataset.shown))


def rounds_of(dataset: Inputs, *, complete: bool = False) -> list[dict[str, NoisySlice]]:
    """The slices of each run of the container by the names that it sees (`opaque_names`).

    No run shows two images of one plane: from two, a container could average the noise, find lesions by subtraction or
    compute the noise that was added. Images of one plane are put into an order that the secret decides, and the i-th
    goes to run i, so that no container can tell from its run which kind of image it sees. Where no plane has several
    images one run shows all. Where `complete`, planes of few images are shown again in later runs, their images in
    turn, so that every slice has its neighbours in every run.
    """
    keyed, names = _Keyed(dataset), opaque_names(dataset)
    # a NUL is part of no name, so no digest here is one of `opaque_names`, which the container knows
    planes = [sorted(images, key=lambda one: keyed(f"run\0{one.name}")) for images in dataset.planes().values()]
    rounds = []
    for number in range(max(map(len, planes), default=1)):
        chosen = {images[number % len(images)].name for images in planes if complete or number < len(images)}
        rounds.append({name: one for name, one in names.items() if one.name in chosen})
    return rounds


class _Keyed:
    """Texts -> hex digests that only the protocol's secret, else the installation's, can make."""

    def __init__(self, dataset: Inputs) -> None:
        self.secret = dataset.names_key or installation_secret()
        self.data = dataset.digest

    def __call__(self, text: str) -> str:
        return hmac.digest(self.secret, f"{self.data}\0{text}".encode(), "sha256").hex()


@contextlib.contextmanager
def staged(
    slices: Mapping[str, Image],
    cases: Mapping[str, NoisySlice],
    told: Told,
    window_hu: Window | None,
    weights: list[tuple[str, Path]],
) -> Iterator[tuple[Path, Path | None]]:
    """Lay out what the container may read and yield the folders for /input and, if there are weights, /opt/ml/model.

    `slices` (uint8, or uint16 in HU; height x width) and `cases` are keyed by the names that the container sees; `told`
    is what it learns of their order; `weights` are (name, file). The slices are written from their pixels, so that no
    text or time of the source files gets in.
    """
    with private_folder(cache_root() / "staging") as private:
        inputs = private / "input"
        inputs.mkdir()
        # not compressed: they live only as long as the container, which reads them faster
        write_slices(inputs, slices, compression="none")
        listed = [
            {
                "name": name,
                "file": f"{name}.png",
                "height": slices[name].shape[0],
                "width": slices[name].shape[1],
                "pixel_mm": case.pixel_mm,
                **({} if case.acquisition is None else msgspec.to_builtins(case.acquisition)),
                **told.cases.get(name, {}),
            }
            for name, case in cases.items()
        ]
        in_hu = {one.dtype for one in slices.values()} == {np.dtype(np.uint16)}
        about = {"window_hu": window_hu, **told.whole, **(PIXELS_HU if in_hu else {})}
        write_json(inputs / "manifest.json", {"cases": listed, **about})
        model = None
        if weights:
            model = private / "model"
            model.mkdir()
            for name, path in weights:
                shutil.copyfile(path, model / name)
        for path in private.rglob("*"):  # readable for the uid that the sandbox forces, whatever our umask
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield inputs, model
