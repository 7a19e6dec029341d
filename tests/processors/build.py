"""Builds a small protocol and everything that a row's bytes hang on; prints the digests as JSON.

    python tests/processors/build.py [--write]

`--write` replaces the committed digests, which belong to the present version of the embedded protocols.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from unittest import mock

import msgspec

from harness.base.digests import digest_bytes, digest_json, digest_pixels
from harness.base.slices import read_grey
from harness.dataset.cases import KINDS, Dataset
from harness.dataset.from_phantom import phantom_slices
from harness.imaging import denoise
from harness.imaging.coupled import couple
from harness.imaging.draws import generator
from harness.imaging.insertion import Scanner, insert_noise
from harness.imaging.lesion import Lesion
from harness.imaging.lungs import corrected_masks
from harness.imaging.segment import segment
from harness.labels.label_set import build_labels
from harness.phantom import make_patient
from harness.phantom.lesions import scan_lesions
from harness.protocol import Lesions, PhantomData, Purify

COMMITTED = Path(__file__).with_name("digests.json")

DATA = PhantomData(patients=2, slices=1, size=192, dose=0.02, view="mixed", nodule_slices=1, seed=2603)
"""Two patients of two difficult fields of view: vessels, nodules, table, bones and padding are all painted."""

CONDITIONS = (Lesion(diameter_mm=3, contrast_hu=300), Lesion(diameter_mm=8, contrast_hu=80))
FURTHER = PhantomData(
    patients=1, slices=1, size=192, dose=0.02, lesions=Lesions(conditions=CONDITIONS), realisations=2, seed=2611
)


IN_HU = PhantomData(patients=1, slices=1, size=128, dose=0.02, seed=2603, pixels="uint16-hu")


def digests() -> dict[str, str]:
    """What was built -> its digest, in the order in which one follows from the other."""
    dataset = phantom_slices(DATA, None)
    found = {f"{kind} of {case.name}": _file(getattr(case, kind)) for case in dataset.cases for kind in KINDS}
    found["data"] = dataset.digest
    for number, case in enumerate(dataset.cases):
        low, normal = read_grey(Path(case.lq)), read_grey(Path(case.gt))
        assert dataset.window_hu is not None
        assert case.pixel_mm is not None
        found[f"segmentation of {case.name}"] = digest_pixels(
            segment(low, window_hu=dataset.window_hu, pixel_mm=case.pixel_mm)
        )
        masks = corrected_masks(low, normal, window_hu=dataset.window_hu, pixel_mm=case.pixel_mm)
        found[f"corrected masks of {case.name}"] = digest_bytes(masks.common.tobytes(), masks.lungs.tobytes())
        noisy = insert_noise(
            normal,
            window_hu=dataset.window_hu,
            pixel_mm=case.pixel_mm,
            scanner=Scanner(photons=2e5, electronic=4, kernel="sharp"),
            dose=0.02,
            rng=generator(7, number),
        )
        found[f"noise inserted into {case.name}"] = digest_pixels(noisy)
        coupled = couple(
            low,
            window_hu=dataset.window_hu,
            pixel_mm=case.pixel_mm,
            scanner=Scanner(photons=2e5 * DATA.dose, electronic=4, kernel="sharp"),
            rng=generator(8, number),
            calibrate=True,
        )
        found[f"coupled inputs of {case.name}"] = digest_bytes(*(image.tobytes() for image in coupled.inputs))
    return found | _lesions() | _further() | _labels(dataset) | _in_hu()


def _in_hu() -> dict[str, str]:
    """A slice of 16 bits, and its labels by every weak denoiser."""
    dataset = phantom_slices(IN_HU, None)
    labels = {weak: build_labels(dataset, Purify(weak_denoiser=weak)).digest for weak in denoise.names()}
    return {"data in HU": dataset.digest} | {f"labels in HU, {weak}": digest for weak, digest in labels.items()}


def _further() -> dict[str, str]:
    """Further images of a plane, and the digest of all of it, which covers the sites."""
    dataset = phantom_slices(FURTHER, None)
    files = {kind: path for paths in dataset.files().values() for kind, path in paths.items() if kind not in KINDS}
    return {f"further image {kind}": _file(path) for kind, path in files.items()} | {"further data": dataset.digest}


def _lesions() -> dict[str, str]:
    """Sites and scans of a plane with lesions."""
    scans = scan_lesions(make_patient(2611, 0), 0.45, size=DATA.size, dose=DATA.dose, lesions=CONDITIONS, most=20)
    images = {kind: digest_pixels(getattr(scans.present, kind)) for kind in ("lq", "truth", "aligned_gt")}
    return {"sites of lesions": digest_json(scans.sites)} | {f"{kind} with lesions": images[kind] for kind in images}


def _labels(dataset: Dataset) -> dict[str, str]:
    """Labels by every weak denoiser and variant, and once more without true regions, so that these are sought."""
    found = {}
    for weak in denoise.names():
        for variant in ("published", "corrected"):
            purify = Purify(variant=variant, weak_denoiser=weak)
            found[f"labels, {variant}, {weak}"] = build_labels(dataset, purify).digest
    blind = msgspec.structs.replace(
        dataset,
        cases=tuple(msgspec.structs.replace(case, regions=None) for case in dataset.cases),
        digest=digest_bytes(dataset.digest.encode(), b"without regions"),
    )
    purify = Purify(variant="corrected", weak_denoiser="tv")
    return found | {"labels and consensus regions": build_labels(blind, purify).digest}


def _file(path: str) -> str:
    return digest_pixels(read_grey(Path(path)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="replace the committed digests")
    write = parser.parse_args().write
    with tempfile.TemporaryDirectory() as cache, mock.patch.dict("os.environ", HARNESS_CACHE=cache):
        found = digests()
    text = json.dumps(found, indent=1) + "\n"
    if write:
        COMMITTED.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
