"""The processor of this machine: its model, and which instructions libraries may choose by."""

from __future__ import annotations

import platform
from pathlib import Path

from harness.base.structs import Strict

CPUINFO = Path("/proc/cpuinfo")

LEVELS = {
    "x86-64-v2": "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3",
    "x86-64-v3": "abm avx avx2 bmi1 bmi2 f16c fma movbe xsave",
    "x86-64-v4": "avx512bw avx512cd avx512dq avx512f avx512vl",
}
"""Level -> what it adds to the one before, as Linux names it (psABI of x86-64, table 3.1; abm is LZCNT)."""


class Processor(Strict, frozen=True, kw_only=True):
    """`model` as the processor names itself, "" where the system does not say; `id` in numbers, since virtual machines
    may hide all but the brand; `level` is x86-64-v1 to v4, on other machines the architecture."""

    model: str
    id: str
    level: str

    def __str__(self) -> str:
        return ", ".join(part for part in (self.model, self.id, self.level) if part)


def processor(cpuinfo: Path = CPUINFO, *, architecture: str | None = None) -> Processor:
    """The processor that Linux describes in `cpuinfo`; elsewhere only its architecture is known."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        text = ""
    facts: dict[str, str] = {}
    for line in text.partition("\n\n")[0].splitlines():  # of the first core
        name, _, value = line.partition(":")
        facts[name.strip()] = value.strip()
    named = {
        "vendor_id": "",
        "cpu family": "family ",
        "model": "model ",
        "stepping": "stepping ",
        "CPU implementer": "implementer ",
        "CPU part": "part ",
        "CPU revision": "revision ",
    }
    return Processor(
        model=facts.get("model name", ""),
        id=" ".join(f"{word}{facts[name]}" for name, word in named.items() if facts.get(name)),
        level=_level(architecture or platform.machine(), set(facts.get("flags", "").split())),
    )


def _level(architecture: str, flags: set[str]) -> str:
    if architecture not in ("x86_64", "AMD64"):
        return architecture
    level = "x86-64-v1"
    for name, added in LEVELS.items():
        if not set(added.split()) <= flags:
            break
        level = name
    return level
