"""What a processor is called and what it can do, as Linux describes it."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from harness.base.processor import LEVELS, processor

# The first lines of /proc/cpuinfo of a virtual machine that hides the model, and of an ARM server (Neoverse N1).
VIRTUAL = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
stepping\t: 1
flags\t\t: fpu sse sse2 {flags}
bugs\t\t:

processor\t: 1
model name\t: another
"""
ARM = """processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd evtstrm
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd0c
CPU revision\t: 1
"""


@pytest.mark.parametrize(("known", "level"), [(0, "v1"), (1, "v2"), (2, "v3"), (3, "v4")])
def test_the_level_is_the_highest_whose_instructions_are_all_there(tmp_path: Path, known: int, level: str) -> None:
    flags = " ".join(list(LEVELS.values())[:known])
    (tmp_path / "cpuinfo").write_text(VIRTUAL.format(flags=flags))
    found = processor(tmp_path / "cpuinfo", architecture="x86_64")
    assert (found.model, found.id) == ("AMD EPYC", "AuthenticAMD family 25 model 17 stepping 1")
    assert found.level == f"x86-64-{level}"


def test_one_instruction_less_is_one_level_less(tmp_path: Path) -> None:
    everything = " ".join(LEVELS.values())
    for missing, level in (("avx512vl", "v3"), ("abm", "v2"), ("cx16", "v1")):
        flags = " ".join(flag for flag in everything.split() if flag != missing)
        (tmp_path / "cpuinfo").write_text(VIRTUAL.format(flags=flags))
        assert processor(tmp_path / "cpuinfo", architecture="x86_64").level == f"x86-64-{level}"


def test_another_architecture_has_no_level(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(ARM)
    found = processor(tmp_path / "cpuinfo", architecture="aarch64")
    assert (found.model, found.id, found.level) == ("", "implementer 0x41 part 0xd0c revision 1", "aarch64")
    assert str(found) == "implementer 0x41 part 0xd0c revision 1, aarch64"


def test_a_system_that_does_not_say_has_its_architecture_alone(tmp_path: Path) -> None:
    assert str(processor(tmp_path / "none", architecture="arm64")) == "arm64"
    assert processor().level.startswith("x86-64-v" if platform.machine() == "x86_64" else platform.machine())
