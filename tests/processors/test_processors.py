"""The same bytes on other processors, as far as one machine can be one: each library's dispatch is held down by its own
variable, and everything is built once more in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BUILD = Path(__file__).with_name("build.py")
COMMITTED = json.loads(BUILD.with_name("digests.json").read_text())
CPU_INFO = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""

PROCESSORS: dict[str, dict[str, str]] = {
    "as it is": {},
    "AVX2 and no more": {
        "NPY_DISABLE_CPU_FEATURES": "X86_V4",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F",
        "OPENBLAS_CORETYPE": "Haswell",
        "OPENCV_CPU_DISABLE": "AVX512-SKX",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
    },
    "any x86-64": {
        "NPY_DISABLE_CPU_FEATURES": "X86_V3",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F,-FMA4",
        "OPENBLAS_CORETYPE": "Prescott",
        "OPENCV_CPU_DISABLE": "AVX512-SKX,AVX2,AVX,FP16,FMA3,SSE4.2,SSE4.1",
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "NUMBA_CPU_NAME": "x86-64",
        "NUMBA_CPU_FEATURES": "",
    },
    "one thread, OpenCV without IPP": {
        "OMP_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
        "OPENCV_IPP": "disabled",
    },
    "four threads": {"OMP_NUM_THREADS": "4", "NUMBA_NUM_THREADS": "4"},
}
"""Name -> environment. All libraries are held down at once: that finds a difference in any, in fewer builds than one a
library. Where a line fails, take out one variable after the other. numpy's levels are X86_V2 to X86_V4; a machine that
lacks one says so and goes on."""


def built_on(processor: str, scratch: Path) -> dict[str, str]:
    """What `build.py` makes as that processor would."""
    # code that numba compiled for this processor lies in its cache, so that another one needs its own
    own = {"NUMBA_CACHE_DIR": str(scratch)} if "NUMBA_CPU_NAME" in PROCESSORS[processor] else {}
    inherited = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, BUILD],
        env=inherited | PROCESSORS[processor] | own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    digests: dict[str, str] = json.loads(done.stdout)
    return digests


@pytest.mark.parametrize("processor", PROCESSORS)
def test_every_processor_builds_the_committed_bytes(processor: str, tmp_path: Path) -> None:
    built = built_on(processor, tmp_path)
    differing = [name for name in COMMITTED if built.get(name) != COMMITTED[name]]
    assert not differing, f"{processor}: these differ, the first of them first: {differing}"
    assert built.keys() == COMMITTED.keys()


@pytest.mark.skipif("avx2" not in CPU_INFO, reason="this processor has nothing to hold down")
def test_the_matrix_does_change_what_is_computed() -> None:
    """A variable that no library reads would make the test above pass for nothing."""
    script = "import numpy; print(numpy.exp(numpy.linspace(-9, 9, 100_003, dtype=numpy.float32)).tobytes().hex())"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script], env=os.environ | environment, capture_output=True, check=True
        ).stdout
        for name, environment in PROCESSORS.items()
        if name in ("as it is", "any x86-64")
    }
    assert len(outputs) == 2
