"""The paper's claims with the harness's own means: four models trained on the pairs of every strategy, scored alike.

    .venv/bin/python -m benchmarks.reproduction [--setting reduced] [--seeds 3] [--device cuda] [--amp] [--published]
    .venv/bin/python -m benchmarks.reproduction --real FOLDER     # the same networks on real slices
    .venv/bin/python -m benchmarks.reproduction --tables [--pictures docs]   # from what is finished, no computing

Every cell is a network (`benchmarks/train.py`) run on the test patients of the protocol `phantom` and scored against
its label, the same for all, against the phantom's truth, and by how well lesions are still seen. On real slices it is
scored against the slices before noise was inserted, and by the error without truth. Cells are kept in
benchmarks/reproduction/<setting>.json as they are finished, one seed after the other: killed, the same command goes on.
Prints markdown.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
import torch
from msgspec import UNSET
from numpy.typing import NDArray
from PIL import Image as Pillow

from benchmarks.coupled import (
    PER_GREY,
    WIDE,
    Slice,
    coupled,
    masks_of,
    real_files,
    real_slice,
    squared,
    through_usual_window,
)
from benchmarks.reproduction_cells import FOLDER, NO_TRUTH, REGIONS, TRUE_ERROR, Cell, Key, Results
from benchmarks.reproduction_tables import print_tables
from benchmarks.train import (
    MODELS,
    SETTINGS,
    Task,
    Trained,
    clock,
    load_pairs,
    load_trained,
    tasks,
    train,
    training_set,
)
from harness.base.files import atomic_folder
from harness.base.process import source_commit
from harness.base.slices import read_grey, write_grey
from harness.base.structs import read_json, write_json
from harness.dataset.cases import Dataset
from harness.dataset.load import load_data
from harness.imaging.coupled import Coupled, squared_error
from harness.imaging.montage import lung_window, montage
from harness.labels.label_set import build_labels
from harness.metrics import DATA_RANGE, ImageMetric, comparisons
from harness.metrics import load as load_metric
from harness.protocol import Metric, PhantomData, Protocol, load_protocol
from harness.scoring.lesions import ALL, HOTELLING
from harness.scoring.score import Scorecard, load_extractors, score

R = TypeVar("R")
Image = NDArray[np.uint8]
REAL_METRICS = {"bias": "bias", "SSIM": "ssim", "noise": "noise"}


# -------------------------------------------------------------------------------- cells
def evaluation_protocol(*, published: bool = False) -> Protocol:
    """`phantom` with the metrics of the paper, and the errors that truth allows; each plane is scanned once.

    FID and KID have ImageNet features (EfficientNet-Lite0), CLIP-FID random ones; or, where they are here (`harness
    weights`), all have the published networks.
    """
    given = load_protocol("phantom")
    assert isinstance(given.data, PhantomData)
    inception, clip = ("inception", "clip") if published else ("efficientnet-lite0", "clip-random")
    metrics = (
        Metric(name="FID", metric="frechet", features=inception),
        Metric(name="KID", metric="kernel", features=inception),
        Metric(name="CLIP-FID", metric="frechet", features=clip),
        Metric(name="RMSE", metric="rmse"),
        Metric(name="bias", metric="bias"),
        Metric(name="noise", metric="noise"),
        Metric(name="vessel contrast", metric="vessel_contrast"),
    )
    data = msgspec.structs.replace(given.data, realisations=UNSET)
    return msgspec.structs.replace(given, data=data, metrics=metrics, regions=REGIONS)


def recipe_of(task: Task) -> str:
    return task.strategy if task.variant == "published" else f"{task.strategy} {task.variant}"


def key_of(task: Task) -> Key:
    return task.model, recipe_of(task), task.seed


def denoise(network: Any, noisy: Image, device: str) -> Image:
    """One slice, as the submissions' denoise.py does it."""
    values = torch.from_numpy(noisy.astype(np.float32) / 255)[None, None].to(device)
    with torch.inference_mode():
        clean = network.denoise(values)[0, 0].cpu().numpy()
    grey: Image = np.clip(clean * 255, 0, 255).round().astype(np.uint8)
    return grey


def apply(task: Task) -> tuple[Path, Path]:
    """The folder of a network, trained if need be, and that of its outputs on the test set, made if need be."""
    folder = train(task)
    dataset = load_data(evaluation_protocol())
    made = folder / f"outputs-{dataset.digest[:12]}"
    if not made.exists():
        network = load_trained(folder, device=task.device)
        began = clock(task.device)
        with atomic_folder(made) as part:
            for one in dataset.shown:
                write_grey(part / f"{one.name}.png", denoise(network, read_grey(Path(one.lq)), task.device))
            write_json(part / "seconds.json", round(clock(task.device) - began, 1))
    return folder, made


def measure(task: Task, folder: Path, made: Path, score_it: Callable[[dict[str, Path]], Scorecard]) -> Cell:
    """Score the outputs of a trained network."""
    trained = read_json(folder / "recipe.json", Trained)
    began = clock(task.device)
    card = score_it({path.stem: path for path in made.glob("*.png")})
    scored = clock(task.device)
    assert card.truth is not None  # the phantom's is known
    values = {
        name: {
            metric: {column: (one.value, one.low, one.high) for column, one in columns.items()}
            for metric, columns in table.items()
        }
        for name, table in (("label", card.label), ("truth", card.truth), ("lesions", card.further["lesions"]))
    }
    return Cell(
        model=task.model,
        recipe=recipe_of(task),
        seed=task.seed,
        weights=trained.sha256,
        parameters=trained.parameters,
        train_s=trained.seconds,
        apply_s=read_json(made / "seconds.json", float),
        score_s=round(scored - began, 1),
        values=values,
    )


def results_file(setting: str, *, published: bool = False) -> Path:
    """Where the cells of a setting are kept, by the extractors that scored them."""
    return FOLDER / f"{setting}{'-published' if published else ''}.json"


def open_results(setting: str, path: Path, dataset: Dataset, protocol: Protocol, device: str) -> Results:
    """What is finished of a setting, unless it was made with another setting, protocol or test set."""
    cores = os.cpu_count()
    machine = f"{cores} CPU cores" if device == "cpu" else torch.cuda.get_device_name()
    fresh = Results(
        setting=msgspec.to_builtins(SETTINGS[setting]),
        protocol=protocol.digest,
        test_set=dataset.digest,
        machine=machine,
        torch=str(torch.__version__),
        commit=source_commit()[0],
    )
    if not path.exists():
        return fresh
    found = read_json(path, Results)
    same = all(getattr(found, name) == getattr(fresh, name) for name in ("setting", "protocol", "test_set"))
    return found if same else fresh


def compute(setting: str, seeds: int, device: str, *, amp: bool, published: bool) -> None:
    """Train and score every cell that is not there yet."""
    protocol, path = evaluation_protocol(published=published), results_file(setting, published=published)
    dataset = load_data(protocol)
    labels = build_labels(dataset, protocol.purify)
    extractors = load_extractors(protocol, device=device)
    results = open_results(setting, path, dataset, protocol, device)
    there = {one.key for one in results.cells}
    missing = [task for task in tasks(setting, seeds, device, amp) if key_of(task) not in there]
    missing.sort(key=lambda task: task.model == "flow")  # last: its cells cost most and say least
    for task, (folder, made) in apply_all(missing, device):
        cell = measure(
            task, folder, made, lambda outputs: score(outputs, dataset, labels, protocol, extractors=extractors)
        )
        results = msgspec.structs.replace(results, cells=(*results.cells, cell))
        write_json(path, results)
        label, truth, lesions = (cell.values[name] for name in ("label", "truth", "lesions"))
        print(
            f"{cell.model}, {cell.recipe}, seed {cell.seed}: KID {label['KID']['whole'][0]:.5f}, RMSE to the truth "
            f"{truth['RMSE']['lung'][0]:.1f} HU in the lung, d' {lesions[HOTELLING][ALL][0]:.2f}; "
            f"{cell.train_s:.0f} + {cell.apply_s:.0f} + {cell.score_s:.0f} s",
            flush=True,
        )


def apply_all(missing: Sequence[Task], device: str) -> Iterator[tuple[Task, tuple[Path, Path]]]:
    """`apply` on a GPU one after the other, on a CPU one a core; in the order of the tasks."""
    if not missing:
        return
    setting = SETTINGS[missing[0].setting]
    dataset = training_set(setting)
    for strategy, variant in dict.fromkeys((task.strategy, task.variant) for task in missing):
        load_pairs(setting, dataset, strategy, variant)  # made on all cores, once, before anybody waits for them
    if device == "cpu":
        yield from zip(missing, on_all_cores(apply, missing), strict=True)
    else:
        yield from ((task, apply(task)) for task in missing)


def on_all_cores(function: Callable[[Task], R], todo: Sequence[Task]) -> Iterator[R]:
    """What `function` makes of each task, one a core, in their order and as soon as it is there."""
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(function, todo)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


# -------------------------------------------------------------------------------- real slices
class RealSlice(NamedTuple):
    """A real slice with inserted noise, its two coupled inputs, and its regions."""

    slice: Slice
    made: Coupled
    masks: dict[str, NDArray[np.bool_]]


@functools.cache
def real_slices(folder: Path) -> list[RealSlice]:
    found = [real_slice(file, pixel_mm) for file, pixel_mm in real_files(folder)]
    return [RealSlice(one, coupled(one, one.noisy, WIDE), masks_of(one)) for one in found]


def real_values(run: Callable[[Image], Image], slices: Sequence[RealSlice]) -> dict[str, dict[str, float]]:
    """Metric -> region -> value of a denoiser (uint8 through WIDE): its RMSE against the slices as they were before
    noise was inserted, and as estimated without them, both pooled over slices, in HU; and means of REAL_METRICS."""
    loaded = {name: load_metric(file) for name, file in REAL_METRICS.items()}
    wanted = {name: metric for name, metric in loaded.items() if isinstance(metric, ImageMetric)}
    values: dict[str, dict[str, list[float]]] = {}

    def keep(metric: str, region: str, value: float) -> None:
        values.setdefault(metric, {}).setdefault(region, []).append(value)

    for one, made, masks in slices:
        output = run(one.noisy)
        for found in comparisons({"truth": one.truth}, wanted, masks):
            value = found.measure(output, data_range=DATA_RANGE, pixel_mm=one.pixel_mm, window_hu=WIDE).value
            if value is not None:
                keep(found.name, found.region, value * (PER_GREY if found.metric.unit == "grey" else 1))
        split = run(made.inputs[0]), run(made.inputs[1])
        for region, mask in masks.items():
            keep(TRUE_ERROR, region, squared(output, one.truth, mask))
            keep(NO_TRUTH, region, squared_error(split, one.noisy, made, mask, window_hu=WIDE))
    means = {
        metric: {region: float(np.mean(of)) for region, of in regions.items()} for metric, regions in values.items()
    }
    for metric in (TRUE_ERROR, NO_TRUTH):  # no network comes near an error of 0
        means[metric] = {region: float(np.sqrt(square)) for region, square in means[metric].items()}
    return means


def apply_real(task: Task, folder: Path) -> dict[str, dict[str, float]]:
    """What a trained network is worth on real slices."""
    torch.set_num_threads(1)
    network = load_trained(train(task), device=task.device)
    return real_values(functools.partial(through_usual_window, network), real_slices(folder))


def compute_real(path: Path, setting: str, seeds: int, folder: Path, device: str) -> None:
    """The trained networks on real slices with inserted noise: errors alone, they are too few for distances.

    What is finished is kept, and not computed again.
    """
    results = read_json(path, Results)
    unmeasured = {one.key for one in results.cells if one.real is None}
    missing = [task for task in tasks(setting, seeds, device, amp=False) if key_of(task) in unmeasured]
    write_json(FOLDER / "real-input.json", real_values(lambda noisy: noisy, real_slices(folder)))
    made = on_all_cores(functools.partial(apply_real, folder=folder), missing)
    for task, real in zip(missing, made, strict=True):
        cells = [msgspec.structs.replace(one, real=real) if one.key == key_of(task) else one for one in results.cells]
        results = msgspec.structs.replace(results, cells=tuple(cells))
        write_json(path, results)
        print(f"{task.model}, {recipe_of(task)}, seed {task.seed}: {real[TRUE_ERROR]}", flush=True)


# -------------------------------------------------------------------------------- pictures
def pictures(path: Path, setting: str, folder: Path) -> None:
    """A slice's lung, a row a finished model: input, what each recipe's network makes of it, label, truth (lung
    window)."""
    finished = {one.model for one in read_json(path, Results).cells}
    protocol = load_protocol("phantom")
    dataset = load_data(protocol)
    labels = build_labels(dataset, protocol.purify)
    case = dataset.cases[2]
    images = [read_grey(Path(path)) for path in (case.lq, labels.path(case.name), str(case.truth))]
    rows = []
    for model in (one for one in MODELS if one in finished):
        made = [
            denoise(load_trained(train(task)), images[0], "cpu")
            for task in tasks(setting, 1, "cpu", amp=False)
            if task.model == model
        ]
        crop = [one[190:350, 90:250] for one in (images[0], *made, images[1], images[2])]
        rows.append([lung_window(one, window_hu=dataset.window_hu) for one in crop])
    Pillow.fromarray(montage(rows, side=160)).save(folder / "reproduction.png", optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", choices=SETTINGS, default="reduced")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--amp", action="store_true", help="train in bfloat16 where it does no harm")
    parser.add_argument("--published", action="store_true", help="score with the published weights (harness weights)")
    parser.add_argument("--real", type=Path, help="folder of manifest.csv and its 16-bit slices")
    parser.add_argument("--tables", action="store_true", help="print what is finished")
    parser.add_argument("--pictures", type=Path, help="folder to write reproduction.png into")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    path = results_file(asked.setting, published=asked.published)
    if asked.real:
        compute_real(path, asked.setting, asked.seeds, asked.real, asked.device)
    elif not asked.tables:
        compute(asked.setting, asked.seeds, asked.device, amp=asked.amp, published=asked.published)
    if asked.pictures:
        pictures(path, asked.setting, asked.pictures)
    print_tables(path)


if __name__ == "__main__":
    main()
