"""Submission x a few noisy slices -> whether its outputs are valid, and what they look like beside their inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.base.files import cache_root
from harness.base.progress import Reporter
from harness.base.slices import read_slices, write_grey
from harness.base.structs import Strict
from harness.dataset.cases import first_cases
from harness.engines import Engine
from harness.imaging.anatomy import ANATOMIES
from harness.imaging.hounsfield import Image, grey
from harness.imaging.montage import montage, reading_window
from harness.imaging.slips import Difference, difference, find_slips
from harness.pipeline.data import prepare_data, refuse_training_set
from harness.protocol import Protocol
from harness.run.context import refuse_unordered
from harness.run.execute import run_submission
from harness.run.result import Run
from harness.submission.manifest import Submission
from harness.submission.overlap import refuse_test_slices, shared_with_official

SHEET_SLICES, SHEET_SIDE = 8, 384  # rows of a contact sheet at most, and pixels of each picture's height
GAIN = 2  # of the differences that it shows


class Trial(Strict, frozen=True, kw_only=True):
    """A run of a few slices: what looks wrong with its outputs, how far each is from its input in steps of the data
    set's own pixels, what a step is in HU (None: unknown), and the file that shows them."""

    run: Run
    slips: tuple[str, ...]
    differences: dict[str, Difference]
    hu_per_level: float | None
    sheet: str


def trial_run(
    submission: Submission, protocol: Protocol, *, slices: int, leaderboard: Path, engine: Engine, reporter: Reporter
) -> Trial:
    """Run a submission on the first `slices` slices under the production limits and compare outputs with inputs.

    Nothing is scored. UsageError where its `trained_on` lists slices or patients of the protocol's test set.
    """
    refuse_training_set(protocol)
    for name, shared in shared_with_official(submission).items():
        reporter.note(
            f"it was trained on {shared} images of the test set of {name}: harness run -p {name} will refuse it"
        )
    test = prepare_data(protocol, reporter, leaderboard=leaderboard)
    refuse_test_slices(submission, test)
    refuse_unordered(submission.manifest.context, test, protocol=protocol.identity)
    dataset = first_cases(test, slices)
    with reporter.stage("run") as progress:
        run = run_submission(
            submission,
            dataset,
            protocol.limits,
            seed=protocol.seed,
            engine=engine,
            fresh=True,
            publish_logs=protocol.publish.logs,
            progress=progress,
        )
    noisy, outputs = read_slices({one.name: one.lq for one in dataset.cases}), read_slices(run.outputs)
    reading_hu = ANATOMIES[protocol.anatomy].reading_hu
    sheet = cache_root() / "checks" / f"{submission.slug}.png"
    write_grey(sheet, contact_sheet(noisy, outputs, reading_hu, window_hu=dataset.window_hu))
    return Trial(
        run=run,
        slips=tuple(find_slips(list(noisy.values()), [outputs[name] for name in noisy], window_hu=dataset.window_hu)),
        differences={name: difference(one, outputs[name]) for name, one in noisy.items()},
        hu_per_level=dataset.hu_per_level,
        sheet=str(sheet),
    )


def contact_sheet(
    noisy: dict[str, Image],
    outputs: dict[str, Image],
    reading_hu: tuple[float, float],
    *,
    window_hu: tuple[float, float] | None,
) -> NDArray[np.uint8]:
    """Rows of input, output and output less input (mid-grey is none, `GAIN` times as strong), uint8 (height, width) by
    slice, the first two through the window of their readers."""
    rows = []
    for name in list(noisy)[:SHEET_SLICES]:
        given, made = (grey(images[name], window_hu) for images in (noisy, outputs))
        apart = GAIN * (made.astype(np.int16) - given) + 128
        shown = [reading_window(image, reading_hu, window_hu=window_hu) for image in (given, made)]
        rows.append([*shown, np.clip(apart, 0, 255).astype(np.uint8)])
    return montage(rows, side=SHEET_SIDE)
