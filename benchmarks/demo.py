"""How long `make demo` takes in a fresh clone with an empty cache, and then again.

    python3 benchmarks/demo.py

Clones the repository's HEAD into a temporary folder; virtual environment, downloads, image and data are all made
anew there. The container engine is used as it runs; what the engine keeps (the base image) is removed first.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASE_IMAGE = "ipv2-harness/base:1"


def main() -> None:
    subprocess.run(["docker", "rmi", "--force", BASE_IMAGE], check=False, capture_output=True)
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        environment = {**os.environ, "HARNESS_CACHE": str(Path(folder) / "cache")}
        print("| `make demo` | s |\n|---|--:|")
        for name in ("first run, from nothing", "second run"):
            began = time.perf_counter()
            subprocess.run(["make", "demo"], cwd=clone, env=environment, check=True, stdout=subprocess.DEVNULL)
            print(f"| {name} | {time.perf_counter() - began:.0f} |", flush=True)


if __name__ == "__main__":
    main()
