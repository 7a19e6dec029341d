"""How far the values of the same outputs are apart between threads and instruction sets of one processor.

    python benchmarks/agreement.py -p phantom-mini

The outputs, a median filter's, are scored once in each setting, in a process of its own. `harness.records.agreement`
says how far values may be apart. The last two columns are the largest difference relative to the value (without KID,
a small difference of large sums), and the largest share of the tolerance, among all numbers of all values: their bounds
and the values without each patient, too.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import msgspec
import numpy as np

from harness.base.progress import Quiet
from harness.base.slices import read_grey, write_grey
from harness.pipeline.folder import evaluate_folder
from harness.pipeline.prepare import prepare
from harness.protocol import load_protocol
from harness.records.agreement import numbers
from harness.records.schema import Record, Result

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
SETTINGS = {
    "as it is": {},
    "as it is, again": {},
    "one thread": ONE_THREAD,
    "no AVX-512": {
        "NPY_DISABLE_CPU_FEATURES": "X86_V4",
        "OPENBLAS_CORETYPE": "Haswell",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
    },
    "SSE alone, one thread": {
        "NPY_DISABLE_CPU_FEATURES": "X86_V3",
        "OPENBLAS_CORETYPE": "Prescott",
        "OPENCV_CPU_DISABLE": "AVX512-SKX,AVX2,AVX,FP16,FMA3,SSE4.2,SSE4.1",
        "OPENCV_IPP": "disabled",
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        **ONE_THREAD,
    },
}
"""Setting -> environment."""


def score_here(protocol: str, outputs: Path, leaderboard: Path) -> Record:
    """The record of the outputs as this process scores them; they are made where there are none yet."""
    benchmark = prepare(load_protocol(protocol), Quiet(), leaderboard=leaderboard, writes=False)
    for case in benchmark.dataset.cases:
        path = outputs / f"{case.name}.png"
        if not path.exists():
            write_grey(path, np.asarray(cv2.medianBlur(read_grey(Path(case.lq)), 3), dtype=np.uint8))
    record, _ = evaluate_folder(outputs, benchmark, Quiet(), slug="median", keep=False)
    return record


def score_in(environment: dict[str, str], protocol: str, scratch: Path) -> Record:
    """The record of the outputs as another process scores them. Data and labels are kept, features are not."""
    shutil.rmtree(scratch / "cache" / "features", ignore_errors=True)
    command = [sys.executable, __file__, "-p", protocol, "--score", str(scratch)]
    own = os.environ | {"HARNESS_CACHE": str(scratch / "cache")} | environment
    done = subprocess.run(command, env=own, check=True, stdout=subprocess.PIPE)
    return msgspec.json.decode(done.stdout, type=Record)


def apart(first: Result, second: Result) -> tuple[float, float]:
    """The largest difference relative to the value, KID aside, and the largest share of the tolerance."""
    relative, share = 0.0, 0.0
    for reference in ("metrics", "truth"):
        one, other = (getattr(result, reference) or {} for result in (first, second))
        for metric in one:
            for region, value in one[metric].items():
                for field, number, another, tolerance in numbers(value, other[metric][region]):
                    if number is None or another is None or not tolerance:
                        continue
                    share = max(share, abs(number - another) / tolerance)
                    if field == "value" and "KID" not in metric and abs(number) > 1e-6:
                        relative = max(relative, abs(number - another) / abs(number))
    return relative, share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-p", "--protocol", default="phantom-mini")
    parser.add_argument("--score", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.score is not None:
        (options.score / "outputs").mkdir(exist_ok=True)
        record = score_here(options.protocol, options.score / "outputs", options.score / "leaderboard")
        sys.stdout.buffer.write(msgspec.json.encode(record))
        return
    with tempfile.TemporaryDirectory() as folder:
        first: Record | None = None
        print("| setting | same id | largest relative difference | largest share of the tolerance |")
        print("|---|---|--:|--:|")
        for name, environment in SETTINGS.items():
            record = score_in(environment, options.protocol, Path(folder))
            first = first or record
            relative, share = apart(first.result, record.result)
            same = "yes" if record.id == first.id else "no"
            print(f"| {name} | {same} | {relative:.0e} | {share:.1e} |", flush=True)


if __name__ == "__main__":
    main()
