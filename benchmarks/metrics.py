"""What each metric sees of blur and of noise: the pictures of docs/metrics.md, and their numbers as a markdown table.

    .venv/bin/python -m benchmarks.metrics --pictures docs     # two minutes on two cores

The phantom's truth is spoilt in the graded steps of `benchmarks/spoils.py` and scored against itself unspoilt.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from benchmarks.spoils import SPOILS, STEPS
from harness.base.files import write_text
from harness.base.slices import read_grey, write_grey
from harness.base.text import figures
from harness.dataset.cases import Case, Dataset
from harness.dataset.load import load_data
from harness.imaging.montage import lung_window, montage
from harness.imaging.regions import Code, shrink
from harness.labels.label_set import build_labels
from harness.protocol import Protocol, load_protocol
from harness.scoring.pictures import REGION_COLOURS, patient_box
from harness.scoring.score import load_extractors, score
from harness.scoring.values import Table

LADDERS = {"blur": "#0072b2", "noise": "#d55e00"}  # two of Okabe & Ito's colours
OF_LUNG, OF_NODULES = ("vessel contrast",), ("nodule contrast",)
WIDTH, HEIGHT, COLUMNS = 190, 130, 4  # pixels of a panel, panels a row
LEFT, RIGHT, TOP, BOTTOM = 56, 10, 26, 22  # margins within a panel


def scored(protocol: Protocol, dataset: Dataset) -> dict[str, list[Table]]:
    """For each ladder the values against the truth, the unspoilt truth's own first."""
    labels = build_labels(dataset, protocol.purify)
    extractors = load_extractors(protocol, device="cpu")

    def table(kind: str, step: int) -> Table:
        with TemporaryDirectory() as folder:
            outputs = {case.name: Path(folder) / f"{case.name}.png" for case in dataset.cases}
            for case in dataset.cases:
                truth = read_grey(Path(str(case.truth)))
                write_grey(outputs[case.name], SPOILS[kind](truth, case, step) if step else truth)
            return score(outputs, dataset, labels, protocol, extractors=extractors).truth or {}

    unspoilt = table("blur", 0)
    return {kind: [unspoilt, *(table(kind, step) for step in range(1, STEPS + 1))] for kind in LADDERS}


def region_of(metric: str) -> str:
    return "lung" if metric in OF_LUNG else "nodules" if metric in OF_NODULES else "whole"


def values(tables: list[Table], metric: str) -> list[float | None]:
    """A metric's value at each step; None where there is nothing to measure, as noise between equal images."""
    found = [table.get(metric, {}).get(region_of(metric)) for table in tables]
    return [None if one is None else one.value for one in found]


# -------------------------------------------------------------------------------- pictures
def region_map(case: Case, *, window_hu: tuple[float, float] | None) -> NDArray[np.uint8]:
    """The truth beside the truth under the colours of its regions, uint8 (h, 2 w, 3)."""
    codes = read_grey(Path(str(case.regions)))
    grey = np.repeat(lung_window(read_grey(Path(str(case.truth))), window_hu=window_hu)[..., None], 3, axis=2)
    coloured = grey.astype(np.float64)
    masks = shrink(codes)
    for region, colour in REGION_COLOURS.items():
        rgb = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
        coloured[masks[region]] = 0.45 * grey[masks[region]] + 0.55 * rgb
    return np.hstack([grey, np.rint(coloured).astype(np.uint8)])


def ladders(case: Case, *, window_hu: tuple[float, float] | None) -> NDArray[np.uint8]:
    """A row a ladder: the truth, then its steps, cut to the patient."""
    truth = read_grey(Path(str(case.truth)))
    top, left, height, width = patient_box(read_grey(Path(str(case.regions))))
    rows = [[SPOILS[kind](truth, case, step) if step else truth for step in range(STEPS + 1)] for kind in LADDERS]
    cut = np.s_[top : top + height, left : left + width]
    return montage([[lung_window(image[cut], window_hu=window_hu) for image in row] for row in rows], side=200)


def chart(found: dict[str, list[Table]], metrics: list[str]) -> str:
    """A small panel a metric, its value over the steps of both ladders, as SVG."""
    rows = -(-len(metrics) // COLUMNS)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{COLUMNS * WIDTH}" height="{rows * HEIGHT + 24}" '
        'font-family="sans-serif" font-size="10"><rect width="100%" height="100%" fill="white"/>'
    ]
    for number, metric in enumerate(metrics):
        x, y = number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT
        parts.append(f'<g transform="translate({x},{y})">{_panel(found, metric)}</g>')
    for number, (kind, colour) in enumerate(LADDERS.items()):
        parts.append(
            f'<text x="{LEFT + number * 90}" y="{rows * HEIGHT + 12}" fill="{colour}" font-weight="bold">{kind}</text>'
        )
    return "\n".join(parts) + "</svg>\n"


def _panel(found: dict[str, list[Table]], metric: str) -> str:
    lines = {kind: values(tables, metric) for kind, tables in found.items()}
    numbers = [one for line in lines.values() for one in line if one is not None]
    low, high = min(numbers), max(numbers)
    span = (high - low) or 1.0

    def at(step: int, value: float) -> str:
        x = LEFT + step / STEPS * (WIDTH - LEFT - RIGHT)
        return f"{x:.1f},{HEIGHT - BOTTOM - (value - low) / span * (HEIGHT - TOP - BOTTOM):.1f}"

    region = region_of(metric)
    title = metric if region == "whole" else f"{metric} ({region})"
    parts = [f'<text x="{LEFT}" y="16" font-weight="bold">{escape(title)}</text>']
    for value, y in ((high, TOP + 4), (low, HEIGHT - BOTTOM)):
        parts.append(f'<text x="{LEFT - 6}" y="{y}" text-anchor="end" fill="#555">{figures(value, 2)}</text>')
    axis = f"M{LEFT},{TOP} V{HEIGHT - BOTTOM + 4} H{WIDTH - RIGHT}"
    parts.append(f'<path d="{axis}" fill="none" stroke="#bbb"/>')
    for kind, line in lines.items():
        points = [at(step, value) for step, value in enumerate(line) if value is not None]
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{LADDERS[kind]}" stroke-width="2"/>')
    return "".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-p", "--protocol", default="phantom-mini")
    parser.add_argument("--pictures", type=Path, help="folder to write three pictures to")
    options = parser.parse_args()
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    protocol = load_protocol(options.protocol)
    dataset = load_data(protocol)
    found = scored(protocol, dataset)
    metrics = [
        one.name
        for one in protocol.metrics
        if any(values(tables, one.name)[1] is not None for tables in found.values())
    ]
    print(f"Protocol {protocol.identity}, {len(dataset.cases)} slices, against the truth\n")
    print(
        "| metric | region | truth itself | "
        + " | ".join(f"{kind} {step}" for kind in found for step in range(1, STEPS + 1))
        + " |"
    )
    print("|---|---|" + "--:|" * (1 + len(found) * STEPS))
    for metric in metrics:
        own, *_ = values(next(iter(found.values())), metric)
        steps = [one for tables in found.values() for one in islice(values(tables, metric), 1, None)]
        cells = ["–" if one is None else f"{one:.3g}" for one in (own, *steps)]
        print(f"| {metric} | {region_of(metric)} | " + " | ".join(cells) + " |")
    if options.pictures:
        case = max(dataset.cases, key=lambda one: int((read_grey(Path(str(one.regions))) == Code.NODULE).sum()))
        Pillow.fromarray(region_map(case, window_hu=dataset.window_hu)).save(options.pictures / "metrics-regions.png")
        write_grey(options.pictures / "metrics-ladders.png", ladders(case, window_hu=dataset.window_hu))
        write_text(options.pictures / "metrics-ladders.svg", chart(found, metrics))


if __name__ == "__main__":
    main()
