"""Snakemake, which runs a campaign's jobs: its command line, and what became of every job afterwards."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.base.errors import InfrastructureError, UsageError
from harness.base.structs import read_json
from harness.campaign.jobs import Ended, problem_file, score_file
from harness.campaign.plan import Campaign, Cell

EXTRA = "pip install 'ipv2-harness[campaign]'"
SNAKEFILE = Path(__file__).with_name("Snakefile")


class Outcome(NamedTuple):
    """A cell and what became of it."""

    cell: Cell
    ended: Ended


def snakemake_command(
    folder: Path, campaign: Campaign, *, executor: str, jobs: int | None, dry_run: bool, more: Sequence[str] = ()
) -> list[str]:
    """The command that runs what is left of a campaign in `folder`. `more` are further options of Snakemake.

    UsageError where Snakemake, or the plug-in of that executor, is not installed.
    """
    if importlib.util.find_spec("snakemake") is None:
        raise UsageError("harness campaign needs Snakemake, which is not installed", fix=EXTRA)
    here = executor == "local"
    if not here and importlib.util.find_spec(f"snakemake_executor_plugin_{executor.replace('-', '_')}") is None:
        raise UsageError(
            f"--executor {executor}: Snakemake has no such plug-in here",
            fix=f"pip install snakemake-executor-plugin-{executor}",
        )
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 10**6
    # jobs that run here together fit into its memory, and one at a time uses the GPU
    place = ["--resources", f"mem_mb={memory}", "gpu=1"] if here else ["--latency-wait", "60"]
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE), "--directory", str(folder)),
        *("--executor", executor, "--jobs", str(jobs or (cores if here else 100)), *place),
        *("--keep-going", "--retries", str(campaign.retries), "--rerun-incomplete", "--rerun-triggers", "mtime"),
        # a killed Snakemake leaves its lock: the campaign has one of its own, which the kernel frees
        *("--nolock", "--drop-metadata"),
        *(["--dry-run", "--quiet", "rules"] if dry_run else []),
        *more,
    ]


def forget_lost_records(folder: Path, campaign: Campaign) -> None:
    """Score again what has no record on the leaderboard any more."""
    for cell in campaign.cells:
        path = score_file(folder, cell)
        if path.is_file() and not (Path(read_json(path, Ended).folder) / "record.json").is_file():
            path.unlink()


def outcomes(folder: Path, campaign: Campaign) -> Iterator[Outcome]:
    """What became of every cell, so far."""
    for cell in campaign.cells:
        for path in (score_file(folder, cell), problem_file(folder, cell), problem_file(folder, cell.protocol)):
            if path.is_file():
                yield Outcome(cell, read_json(path, Ended))
                break
        else:
            logs = folder / "logs" / "*" / f"{cell.path}.log"
            message = f"no result: it was not reached, or its job was killed (see {logs})"
            yield Outcome(cell, Ended(exit_status=InfrastructureError.exit_code, message=message))
