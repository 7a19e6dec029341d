"""Does the coupled bootstrap rank denoisers as the truth does? On the phantom, and on real slices with inserted noise.

    .venv/bin/python -m benchmarks.coupled [--patients 8] [--slices 3] [--real FOLDER] [--json FILE]

The battery and the four learned networks of `submissions/` denoise every slice and its two coupled inputs. Each is
then ranked three times: by its error against the truth, by the error that the coupled bootstrap estimates without it,
and by its error against the label. The patients (seed 2806) served no choice, of a network or of the estimator's
settings, which come from three slices of seed 4001. `--real` is a folder of slices (uint16 PNG, HU + 1024) with their
`manifest.csv` (file, px, ...): 2 % dose is inserted, and the slice itself is the truth. Prints markdown. Some 20
processor seconds a slice; killed, the same command goes on at the slices that are missing in the cache folder.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy.stats import kendalltau

from benchmarks.battery import shipped_network
from benchmarks.train import MODELS, ROOT
from harness.base.code_digest import digest_code
from harness.base.digests import digest_bytes, digest_file, digest_json
from harness.base.files import cache_root
from harness.base.slices import read_grey
from harness.base.structs import Strict, read_json, write_json
from harness.base.workers import map_slices
from harness.dataset.cases import Case
from harness.dataset.from_phantom import phantom_slices
from harness.imaging.coupled import STEP, Coupled, clipped_share, couple, noise_ratio, pooled, root, squared_error
from harness.imaging.denoise import nlm
from harness.imaging.draws import generator
from harness.imaging.insertion import Scanner, line_integrals, scan_noise
from harness.imaging.regions import shrink
from harness.imaging.segment import segment
from harness.labels.battery import BATTERY
from harness.labels.label_set import build_labels
from harness.phantom.scan import ELECTRONIC_NOISE, NORMAL_PHOTONS
from harness.protocol import PHANTOM_WINDOW_HU, PhantomData, load_protocol
from harness.statistics import interval, replicates

Image = NDArray[np.uint8]
Floats = NDArray[np.float64]
SEED, DOSE = 2806, 0.02
WIDE = (-1424.0, 1200.0)
PER_GREY = (WIDE[1] - WIDE[0]) / 255
SCANNER = Scanner(photons=NORMAL_PHOTONS * DOSE, electronic=ELECTRONIC_NOISE, kernel="sharp")
REGIONS = ("lung", "body", "background", "whole")
SMALLEST = 2000  # pixels; a smaller region of a slice is left out


class Slice(NamedTuple):
    """A noisy slice and what is known of it; images are uint8 through WIDE, `regions` is a region map."""

    name: str
    patient: str
    noisy: Image
    truth: Image
    label: Image
    regions: Image
    pixel_mm: float


class Row(Strict, frozen=True, kw_only=True):
    """One denoiser in one region of one slice: mean squared errors in HU^2."""

    slice: str
    patient: str
    region: str
    denoiser: str
    truth: float
    stronger: float  # against the truth, of the coupled inputs
    coupled: float
    one_input: float  # estimated from A + a z alone
    label: float


class Noise(Strict, frozen=True, kw_only=True):
    """The drawn noise z beside the slice's own noise e in one region of one slice, as ratios of amplitudes."""

    slice: str
    patient: str
    region: str
    window_hu: tuple[float, float]
    own: float  # HU
    drawn: float  # z / e
    seen: float  # `noise_ratio`: e / z, without the truth
    clipped: float


# -------------------------------------------------------------------------------- denoisers
@lru_cache(maxsize=1)
def denoisers() -> dict[str, Callable[[Image], Image]]:
    """The battery and the learned networks of `submissions/`: slices through WIDE, uint8 to uint8."""
    return BATTERY | {model: partial(through_usual_window, shipped_network(model)) for model in MODELS}


def through_usual_window(network: Any, image: Image) -> Image:
    """Networks learnt from slices through the phantom's usual window, cut off at its ends."""
    low, high = PHANTOM_WINDOW_HU
    usual = np.clip((hounsfield(image) - low) / (high - low), 0, 1).astype(np.float32)
    with torch.inference_mode():
        clean = network.denoise(torch.from_numpy(usual)[None, None])[0, 0].numpy()
    return grey(clean * (high - low) + low)


def hounsfield(image: Image) -> Floats:
    return image.astype(np.float64) * PER_GREY + WIDE[0]


def grey(hu: NDArray[np.floating], window_hu: tuple[float, float] = WIDE) -> Image:
    low, high = window_hu
    shown: Image = np.rint(np.clip((hu - low) * (255 / (high - low)), 0, 255)).astype(np.uint8)
    return shown


# -------------------------------------------------------------------------------- slices
class Found(Strict, frozen=True, kw_only=True):
    """What was measured on one slice."""

    rows: tuple[Row, ...]
    noise: tuple[Noise, ...]


@lru_cache(maxsize=1)
def kept_in() -> Path:
    """The cache folder of what this very code measures with these very networks."""
    weights = [digest_file(ROOT / "submissions" / model / "weights.safetensors") for model in MODELS]
    code = digest_code("harness.imaging.coupled", "harness.labels.battery", "harness.labels.label_set")
    return cache_root() / "coupled" / digest_json([digest_file(Path(__file__)), code, weights])[:20]


def of_phantom(case: Case, label: str) -> Found:
    noisy, truth, regions, purified = (
        read_grey(Path(str(path))) for path in (case.lq, case.truth, case.regions, label)
    )
    assert case.pixel_mm is not None
    return kept(Slice(case.name, case.patient, noisy, truth, purified, regions, case.pixel_mm))


def of_real(file: Path, pixel_mm: float) -> Found:
    return kept(real_slice(file, pixel_mm))


def real_slice(file: Path, pixel_mm: float) -> Slice:
    """A real slice, with all the noise of the phantom's scanner at 2 % dose added to its own."""
    with Pillow.open(file) as picture:
        truth = grey(np.maximum(np.asarray(picture).astype(np.float32) - 1024, -1024))
    e = scan_noise(
        line_integrals(truth, window_hu=WIDE, pixel_mm=pixel_mm),
        shape=truth.shape,
        pixel_mm=pixel_mm,
        scanner=SCANNER,
        rng=generator(SEED, 1, *file.name.encode()),
    )
    noisy = grey(hounsfield(truth) + e)
    regions = segment(truth, window_hu=WIDE, pixel_mm=pixel_mm)
    patient = file.stem.split("_")[0]
    return Slice(file.stem, patient, noisy, truth, nlm.denoise(noisy), regions, pixel_mm)


def real_files(folder: Path) -> list[tuple[Path, float]]:
    """The slices of a manifest and their pixel sizes in mm."""
    with (folder / "manifest.csv").open(newline="") as file:
        return [(folder / row["file"], float(row["px"])) for row in csv.DictReader(file)]


def kept(one: Slice) -> Found:
    """`measured`, once for the same images."""
    images = (one.noisy, one.truth, one.label, one.regions)
    path = kept_in() / f"{one.name}-{digest_bytes(*(image.tobytes() for image in images))[:20]}.json"
    if not path.is_file():
        write_json(path, measured(one))
    return read_json(path, Found)


def measured(one: Slice) -> Found:
    """Every denoiser in every region, and the noise beside the slice's own, in a wide and in the usual window."""
    made = coupled(one, one.noisy, WIDE)
    masks = masks_of(one)
    noise = list(compared(one, one.noisy, made, WIDE, masks))
    narrow = grey(hounsfield(one.noisy), PHANTOM_WINDOW_HU)
    noise += compared(one, narrow, coupled(one, narrow, PHANTOM_WINDOW_HU), PHANTOM_WINDOW_HU, masks)
    rows = []
    for name, denoise in denoisers().items():
        own, plus, minus = (denoise(image) for image in (one.noisy, *made.inputs))
        for region, mask in masks.items():
            estimate = partial(squared_error, image=one.noisy, mask=mask, window_hu=WIDE)
            stronger = (squared(output, one.truth, mask) for output in (plus, minus))
            rows.append(
                Row(
                    slice=one.name,
                    patient=one.patient,
                    region=region,
                    denoiser=name,
                    truth=squared(own, one.truth, mask),
                    stronger=sum(stronger) / 2,
                    coupled=estimate((plus, minus), coupled=made),
                    one_input=of_one_input(plus, one.noisy, made, mask),
                    label=squared(own, one.label, mask),
                )
            )
    return Found(rows=tuple(rows), noise=tuple(noise))


def masks_of(one: Slice) -> dict[str, NDArray[np.bool_]]:
    """The regions that are large enough to be measured."""
    return {name: mask for name, mask in shrink(one.regions).items() if name in REGIONS and mask.sum() >= SMALLEST}


def coupled(one: Slice, image: Image, window_hu: tuple[float, float]) -> Coupled:
    rng = generator(SEED, 2, *one.name.encode())
    return couple(image, window_hu=window_hu, pixel_mm=one.pixel_mm, scanner=SCANNER, rng=rng, calibrate=False)


def compared(
    one: Slice, image: Image, made: Coupled, window_hu: tuple[float, float], masks: dict[str, NDArray[np.bool_]]
) -> Iterator[Noise]:
    low, high = window_hu
    e = image * ((high - low) / 255) + low - hounsfield(one.truth)
    seen = noise_ratio(image, made.noise, window_hu=window_hu)
    for region, mask in masks.items():
        own = float(e[mask].std())
        yield Noise(
            slice=one.name,
            patient=one.patient,
            region=region,
            window_hu=window_hu,
            own=own,
            drawn=float(made.noise[mask].std()) / own,
            seen=seen,
            clipped=clipped_share(image, made, mask),
        )


def squared(image: Image, reference: Image, mask: NDArray[np.bool_]) -> float:
    return PER_GREY**2 * float(np.mean((image[mask].astype(np.float64) - reference[mask]) ** 2))


def of_one_input(output: Image, noisy: Image, made: Coupled, mask: NDArray[np.bool_]) -> float:
    """The textbook's estimate: |f(A + a z) - (A - z/a)|^2 less (1 + 1/a^2) |z|^2."""
    z = made.noise[mask].astype(np.float64)
    kept = hounsfield(noisy)[mask] - z / made.step
    return float(np.mean((hounsfield(output)[mask] - kept) ** 2) - (1 + made.step**-2) * np.mean(z**2))


# -------------------------------------------------------------------------------- tables
class Errors(NamedTuple):
    """Mean squared errors of one region, (slices, denoisers), and the patient of each slice."""

    values: dict[str, Floats]
    patients: list[str]
    denoisers: list[str]


def table(rows: Sequence[Row], region: str) -> Errors:
    chosen = [row for row in rows if row.region == region]
    names = list(dict.fromkeys(row.denoiser for row in chosen))
    patients = [row.patient for row in chosen[:: len(names)]]
    values = {
        kind: np.array([getattr(row, kind) for row in chosen]).reshape(len(patients), len(names))
        for kind in ("truth", "stronger", "coupled", "one_input", "label")
    }
    return Errors(values, patients, names)


def tau(errors: Errors, kind: str, against: str = "truth") -> str:
    """Kendall's tau of two rankings with its 95 % interval, a jackknife over patients."""

    def of(chosen: NDArray[np.intp]) -> float:
        one, other = (errors.values[name][chosen].mean(axis=0) for name in (kind, against))
        return float(kendalltau(one, other).statistic)

    bounds = interval(replicates(of, errors.patients))
    if bounds.low is None or bounds.high is None:
        return f"{bounds.value:.2f}"
    return f"{bounds.value:.2f} ({max(bounds.low, -1):.2f} to {min(bounds.high, 1):.2f})"


def print_ranks(data: str, rows: Sequence[Row]) -> None:
    print("| data | region | slices | coupled | coupled, own noise | one input | label | stronger noise |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    for region in REGIONS:
        errors = table(rows, region)
        kinds = [("coupled", "truth"), ("coupled", "stronger"), ("one_input", "truth"), ("label", "truth")]
        taus = " | ".join(tau(errors, *pair) for pair in (*kinds, ("stronger", "truth")))
        print(f"| {data} | {region} | {len(errors.patients)} | {taus} |")


def print_errors(data: str, rows: Sequence[Row], region: str) -> None:
    print(f"\n**{data}, {region}: RMSE in HU**\n")
    print("| denoiser | truth | coupled | label |")
    print("|---|--:|--:|--:|")
    errors = table(rows, region)
    for index in np.argsort(errors.values["truth"].mean(axis=0)):
        truth, label = (float(np.sqrt(errors.values[kind][:, index].mean())) for kind in ("truth", "label"))
        estimate = root(interval(pooled(errors.values["coupled"][:, index].tolist(), errors.patients)))
        bounds = "" if estimate.low is None else f" ({estimate.low:.1f} to {estimate.high:.1f})"
        print(f"| {errors.denoisers[index]} | {truth:.1f} | {estimate.value:.1f}{bounds} | {label:.1f} |")


def print_noise(data: str, noise: Sequence[Noise]) -> None:
    print("| data | window, HU | region | slices | own noise, HU | z / own | range | seen / true ratio | clipped |")
    print("|---|---|---|--:|--:|--:|--:|--:|--:|")
    for window in (WIDE, PHANTOM_WINDOW_HU):
        for region in REGIONS:
            ones = [one for one in noise if one.region == region and one.window_hu == window]
            drawn = np.array([one.drawn for one in ones])
            seen = np.array([one.seen * one.drawn for one in ones])
            print(
                f"| {data} | {window[0]:.0f} to {window[1]:.0f} | {region} | {len(ones)} "
                f"| {np.mean([one.own for one in ones]):.0f} | {drawn.mean():.3f} | {drawn.min():.3f} to "
                f"{drawn.max():.3f} | {seen.mean():.3f} ± {seen.std():.3f} "
                f"| {np.mean([one.clipped for one in ones]):.2%} |"
            )


def phantom_results(patients: int, slices: int) -> Found:
    data = PhantomData(patients=patients, slices=slices, dose=DOSE, window_hu=WIDE, seed=SEED)
    dataset = phantom_slices(data, None)
    labels = build_labels(dataset, load_protocol("phantom").purify)
    return gathered(map_slices(of_phantom, [(case, str(labels.path(case.name))) for case in dataset.cases]))


def real_results(folder: Path) -> Found:
    return gathered(map_slices(of_real, real_files(folder)))


def gathered(found: Sequence[Found]) -> Found:
    return Found(
        rows=tuple(row for one in found for row in one.rows), noise=tuple(n for one in found for n in one.noise)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--patients", type=int, default=8, help="of the phantom; 0 leaves it out")
    parser.add_argument("--slices", type=int, default=3, help="of each patient")
    parser.add_argument("--real", type=Path, help="folder of manifest.csv and its 16-bit slices")
    parser.add_argument("--json", type=Path, help="keep every slice's values there")
    options = parser.parse_args()
    results: dict[str, Found] = {}
    if options.patients:
        results["phantom"] = phantom_results(options.patients, options.slices)
    if options.real:
        results["real"] = real_results(options.real)
    if options.json:
        write_json(options.json, results)
    print(f"Step {STEP}, {len(denoisers())} denoisers: {', '.join(denoisers())}\n")
    for data, found in results.items():
        print(f"\n## {data}\n\nKendall's tau with the RMSE against the truth\n")
        print_ranks(data, found.rows)
        for region in ("lung", "body"):
            print_errors(data, found.rows, region)
        print()
        print_noise(data, found.noise)


if __name__ == "__main__":
    main()
