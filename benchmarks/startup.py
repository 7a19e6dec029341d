"""How long `harness --help` takes, beside the interpreter alone and the import of torch, in one run.

    .venv/bin/python benchmarks/startup.py

Runs the three commands in turn after a warm-up, and prints medians and their range as a markdown table.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "`python -c pass`": ["-c", "pass"],
    "`harness --help`": ["-m", "harness", "--help"],
    '`python -c "import torch"`': ["-c", "import torch"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for round_ in range(rounds + 1):
        for name, arguments in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            if round_:  # the first one warms the disk cache
                times[name].append(time.perf_counter() - began)
    print("| command | median s | range s |\n|---|--:|--:|")
    for name, seconds in times.items():
        print(f"| {name} | {statistics.median(seconds):.2f} | {min(seconds):.2f} - {max(seconds):.2f} |")


if __name__ == "__main__":
    main()
