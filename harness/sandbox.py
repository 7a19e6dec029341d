"""The limits of a container run, as data."""

from __future__ import annotations

from harness.files import Strict


class Limits(Strict, frozen=True, kw_only=True):
    """Ceilings of one container run. GB are 10^9 bytes; seconds are wall time.

    A protocol states them, a submission may ask for less, and what the machine has less of is lowered and recorded.
    """

    wall_s: float = 3600
    memory_gb: float = 16
    cpus: float = 4
    shm_gb: float = 2
    tmp_gb: float = 4
    pids: int = 512

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not 0 < getattr(self, name) < 1e7:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
