"""What the harness adds to a bare engine run of the same container: staging, sandbox, strict reading, the cache.

    .venv/bin/python benchmarks/overhead.py [--slices 500] [--rounds 3] [--submissions tv median]

Bare is `docker run` of the same image with the same limits, the slices' folder as /input and a folder as /output: no
quota, no check, no copy. Both run in turns; the image is built before. The slices are the phantom's, shifted. One slice
tells the constant, many tell the share.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from harness.base.digests import digest_bytes
from harness.base.slices import read_grey, write_grey
from harness.base.structs import write_json
from harness.dataset.cases import Case, Dataset
from harness.dataset.load import load_data
from harness.engines import Engine, connect
from harness.protocol import load_protocol
from harness.run.container_image import checked_image
from harness.run.execute import run_submission
from harness.sandbox import BuildPolicy, Limits, lower, output_quota, plan_container
from harness.submission.manifest import Submission, load_submission

ROOT = Path(__file__).resolve().parent.parent
LIMITS = Limits(wall_s=3600, memory_gb=4, cpus=2, shm_gb=0.5, tmp_gb=0.5, pids=256)


def make_slices(folder: Path, count: int) -> Dataset:
    """`count` different slices of 512 x 512, made of the phantom's noisy ones."""
    source = load_data(load_protocol("phantom")).cases
    cases = []
    for number in range(count):
        turns, case = divmod(number, len(source))
        pixels = np.roll(read_grey(Path(source[case].lq)), 7 * turns, axis=turns % 2)
        path = folder / f"s{number:04d}.png"
        write_grey(path, pixels)
        cases.append(Case(name=path.stem, patient="p", lq=str(path), gt=str(path), pixel_mm=0.7))
    return Dataset(cases=tuple(cases), window_hu=(-1024, 1200), digest=digest_bytes(str(count).encode()))


def bare(image: str, inputs: Path, engine: Engine) -> float:
    """Seconds that `docker run` takes under the same limits."""
    limits = lower(LIMITS, machine=engine.machine).limits
    plan = plan_container(
        engine.inspect(image), limits=limits, quota=output_quota([(512, 512)]), input_folder=str(inputs),
        model_folder=None, seed=1, gpu=None,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as output:
        Path(output).chmod(0o777)
        command = ["docker", "run", "--rm", "--network", "none", "--user", plan.user, "--cpus", str(plan.cpus)]
        command += ["--memory", str(plan.memory_bytes), "--pids-limit", str(plan.pids), "--tmpfs", "/tmp:exec"]
        command += [part for name, value in plan.environment.items() for part in ("--env", f"{name}={value}")]
        command += ["--volume", f"{inputs}:/input:ro", "--volume", f"{output}:/output", image]
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        took = time.perf_counter() - began
        assert len(list(Path(output).glob("*.png"))) == len(list(inputs.glob("*.png")))
    return took


def harness(submission: Submission, dataset: Dataset, engine: Engine) -> float:
    """Seconds that the harness takes from the submission's folder to verified outputs in its cache."""
    began = time.perf_counter()
    run_submission(submission, dataset, LIMITS, seed=1, engine=engine, fresh=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--submissions", nargs="+", default=["tv", "median"])
    asked = parser.parse_args()
    print("| submission | slices | bare s | harness s | added s | added % |\n|---|--:|--:|--:|--:|--:|")
    with connect() as engine, tempfile.TemporaryDirectory() as folder:
        for count in (1, asked.slices):
            inputs = Path(folder) / str(count)
            dataset = make_slices(inputs, count)
            listed = [
                {"name": case.name, "file": f"{case.name}.png", "height": 512, "width": 512} for case in dataset.cases
            ]
            write_json(inputs / "manifest.json", {"cases": listed, "window_hu": dataset.window_hu})
            Path(folder).chmod(0o755)
            for slug in asked.submissions:
                submission = load_submission(ROOT / "submissions" / slug)
                image = checked_image(submission, engine, BuildPolicy(), machine=engine.machine, device="cpu").id
                pairs = [
                    (bare(image, inputs, engine), harness(submission, dataset, engine)) for _ in range(asked.rounds)
                ]
                alone, whole = (statistics.median(one) for one in zip(*pairs, strict=True))
                added = statistics.median(one[1] - one[0] for one in pairs)
                print(
                    f"| {slug} | {count} | {alone:.1f} | {whole:.1f} | {added:.2f} | {100 * added / alone:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    os.environ["HARNESS_CACHE"] = os.environ.get("HARNESS_CACHE", "")
    main()
