"""Compare weak denoisers on the phantom and print the tables of docs/weak_denoisers.md.

    python benchmarks/weak_denoisers.py [--protocol phantom]     # the test patients: gates and ranks
    OMP_NUM_THREADS=1 python benchmarks/weak_denoisers.py --seconds  # processor seconds a slice, median of 4
    python benchmarks/weak_denoisers.py --strengths              # other patients (seed 78), for choosing strengths

The first audits the protocol's labels as made by each weak denoiser and, as bad examples, by a median, a Gaussian and
no denoiser at all. `--strengths` measures the denoisers' own outputs; no test patient has a part in it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.base.slices import read_grey, write_grey
from harness.base.workers import map_slices
from harness.dataset.cases import Case, Dataset
from harness.dataset.load import load_data
from harness.features import load as load_extractor
from harness.imaging import denoise
from harness.imaging.denoise import cnn, nlm, tv
from harness.imaging.masks import dark_mask
from harness.imaging.regions import shrink
from harness.labels.acceptance_gates import ACCEPTANCE_GATES, gate_values
from harness.labels.battery import BATTERY
from harness.labels.quality_report import assess_labels
from harness.labels.report_tables import markdown
from harness.protocol import PhantomData, load_protocol

BAD = ("median 3", "gaussian 1.2", "noisy input")
STRENGTHS: dict[str, Sequence[float]] = {
    "nlm": (0.4, 0.5, 0.6, 0.7),
    "tv": (0.3, 0.4, 0.5, 0.7),
    "cnn": (0.5, 0.7, 0.85, 1.0),
}
TUNING = PhantomData(patients=4, slices=4, size=512, seed=78)


def seconds(case: Case, names: Sequence[str]) -> list[float]:
    """Processor seconds of each denoiser for one slice, after one run to warm it up."""
    image = read_grey(Path(case.lq))
    spent = []
    for name in names:
        apply = denoise.load(name)
        apply(image[:64, :64])
        start = time.process_time()
        apply(image)
        spent.append(time.process_time() - start)
    return spent


def bad_outputs(case: Case, folder: str) -> None:
    for name in BAD:
        write_grey(Path(folder) / name / f"{case.name}.png", BATTERY[name](read_grey(Path(case.lq))))


def compare(protocol_name: str) -> None:
    protocol = load_protocol(protocol_name)
    dataset = load_data(protocol)
    metric = next(one for one in protocol.metrics if one.name == protocol.rank_by.metric)
    extractor = load_extractor(metric.features) if metric.features else None
    with tempfile.TemporaryDirectory() as folder:
        map_slices(bad_outputs, [(case, folder) for case in dataset.cases])
        outputs = {
            name: {case.name: Path(folder) / name / f"{case.name}.png" for case in dataset.cases} for name in BAD
        }
        start = time.perf_counter()
        found = assess_labels(
            dataset,
            protocol.purify,
            outputs=outputs,
            metric=metric,
            region=protocol.rank_by.region,
            extractor=extractor,
        )
    print(markdown(found))
    if extractor is not None:
        print(f"{extractor.describe()}\n")
    print(f"The audit took {time.perf_counter() - start:.0f} s.")


def compare_seconds(protocol_name: str) -> None:
    names = denoise.names()
    cases = load_data(load_protocol(protocol_name)).cases[:4]
    spent = np.array(map_slices(seconds, [(case, names) for case in cases]))
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    print(f"| {' | '.join(f'{value:.2f}' for value in np.median(spent, axis=0))} |")


def strengths_of(case: Case) -> list[dict[str, float | None]]:
    """The gates of every denoiser and strength for one slice, within its true lung."""
    low, normal = read_grey(Path(case.lq)), read_grey(Path(case.gt))
    lung = shrink(read_grey(Path(str(case.regions))))["lung"]
    truth = read_grey(Path(str(case.truth)))
    apply: dict[str, Callable[..., NDArray[np.uint8]]] = {
        "nlm": nlm.denoise_by,
        "tv": tv.denoise_by,
        "cnn": cnn.denoise_by,
    }
    return [
        gate_values(
            partial(apply[name], strength=strength)(low),
            low=low,
            normal=normal,
            truth=truth,
            lung=lung,
            normal_lung=lung & (dark_mask(normal) > 0),
        )
        for name, strengths in STRENGTHS.items()
        for strength in strengths
    ]


def compare_strengths() -> None:
    protocol = msgspec.structs.replace(load_protocol("phantom"), data=TUNING)
    dataset: Dataset = load_data(protocol)
    found = map_slices(strengths_of, [(case,) for case in dataset.cases])
    print(f"{len(dataset.cases)} slices of {TUNING.patients} patients (seed {TUNING.seed}), mean (range)\n")
    print(f"| denoiser | {' | '.join(ACCEPTANCE_GATES)} |\n|{'---|' * (len(ACCEPTANCE_GATES) + 1)}")
    rows = [f"{name} {strength:g}" for name, strengths in STRENGTHS.items() for strength in strengths]
    for index, name in enumerate(rows):
        cells = []
        for gate in ACCEPTANCE_GATES:
            values = [value for of_slice in found if (value := of_slice[index][gate]) is not None]
            cells.append(f"{np.mean(values):.3f} ({min(values):.2f} to {max(values):.2f})")
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", default="phantom")
    parser.add_argument("--strengths", action="store_true")
    parser.add_argument("--seconds", action="store_true")
    options = parser.parse_args()
    if options.strengths:
        compare_strengths()
    elif options.seconds:
        compare_seconds(options.protocol)
    else:
        compare(options.protocol)


if __name__ == "__main__":
    main()
