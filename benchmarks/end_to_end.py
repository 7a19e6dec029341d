"""What scoring a test set takes, beside its networks alone, in one run; and `harness run`, repeated unchanged.

    .venv/bin/python -m benchmarks.end_to_end   # 48 slices of the phantom
    .venv/bin/python -m benchmarks.end_to_end -p phantom-mini --run submissions/tv

Outputs are the noisy slices behind a Gaussian. Data and labels come from the cache; features and scores are computed in
an empty one. "Networks" is the forward pass of prepared images alone. With `--run` the submission runs twice, too, and
the second run is timed; that needs a container engine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.scoring_parts import Took


def run_twice(submission: str, protocol: str, leaderboard: Path) -> Took:
    from benchmarks.scoring_parts import took

    command = [sys.executable, "-m", "harness", "run", submission, "-p", protocol]
    command += ["--leaderboard", str(leaderboard)]

    def run() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    run()
    return took(run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-p", "--protocol", default="phantom")
    parser.add_argument("--run", metavar="SUBMISSION", help="run it twice and time the second")
    options = parser.parse_args()

    from benchmarks.scoring_parts import measure, prepared  # workers, which import this file, need none of it

    with tempfile.TemporaryDirectory() as folder:
        leaderboard = Path(folder) / "leaderboard"
        benchmark = prepared(options.protocol, leaderboard)
        seconds = measure(benchmark, Path(folder) / "outputs")
        if options.run:
            seconds["`harness run` again, unchanged"] = run_twice(options.run, options.protocol, leaderboard)
    print(f"{len(benchmark.dataset.cases)} slices of {benchmark.protocol.identity}, {os.cpu_count()} cores\n")
    print("| | s | processor s |\n|---|--:|--:|")
    for name, one in seconds.items():
        print(f"| {name} | {one.wall:.1f} | {one.processor:.1f} |")
    own, image = seconds["networks, outputs"], seconds["image metrics, workers' start included"]
    cold = seconds["scores, nothing cached"]
    floor = next(one for name, one in seconds.items() if "references" in name)
    print(
        f"\nImage metrics take {image.processor / own.processor:.2f} of the networks' processor time of the outputs "
        f"alone, {image.processor / floor.processor:.2f} of all sets'; scores from nothing take "
        f"{cold.processor / floor.processor:.2f} times the networks' ({cold.wall / floor.wall:.2f} by the clock)."
    )


if __name__ == "__main__":
    main()
