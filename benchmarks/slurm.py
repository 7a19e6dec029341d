"""A campaign on a real Slurm of one node, with faults: its records are those of `harness run`, none twice, none lost.

    make slurm     # apt-get install slurmctld slurmd slurm-client munge; root; a running container engine

12 submissions on 2 small protocols. While the campaign runs a tenth of the jobs are killed at random, Slurm's
controller is killed and started again, and so is the campaign itself; the same command then goes on. What was found is
written to benchmarks/slurm.json. `--plan` measures instead what 200 submissions on 5 protocols cost before the first
job runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.base.process import source_commit
from harness.records.store import read_records

RESULT = Path(__file__).with_suffix(".json")
SLURM_CONF = Path("/etc/slurm/slurm.conf")  # Snakemake gives jobs no variable of Slurm's, so it must lie where all look
CPUS = 4  # that Slurm is told the node has, so that jobs overlap
CONFIGURATION = """
ClusterName=one
SlurmctldHost={host}
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=3600
NodeName={host} CPUs={cpus} RealMemory={memory_mb} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
PROTOCOL = """
schema: 1
name: {name}
version: 1
title: Two small slices
data: {{source: phantom, patients: 2, slices: 1, size: {size}}}
purify: {{weak_denoiser: nlm}}
metrics: [{{name: RMSE, metric: rmse}}]
rank_by: {{metric: RMSE}}
limits: {{wall_s: 60, memory_gb: 0.5, cpus: 1, shm_gb: 0.01, tmp_gb: 0.05, pids: 50}}
"""
PLAN = """
schema: 1
submissions: [submissions/*]
protocols: [{protocols}]
leaderboard: board
retries: 3
resources:
  labels: {{threads: 1, mem_mb: 1000}}
  run: {{mem_mb: 1000}}
  score: {{threads: 1, mem_mb: 1000}}
"""
DOCKERFILE = 'ARG BASE_IMAGE\nFROM ${{BASE_IMAGE}}\nLABEL ipv2-harness.slurm=1\nCMD ["sh", "-c", "{command}"]\n'
MANIFEST = 'schema: 1\nname: {slug}\nversion: "1"\nauthors: [T]\nlicense: MIT\nimage: {{build: .}}\n'
SLURM = (
    "--executor",
    "slurm",
    "--jobs",
    "16",
    "--json",
    "--",
    "--slurm-no-account",
    "--slurm-status-command",
    "squeue",
)


def organiser(folder: Path, *, submissions: int, protocols: int) -> None:
    """A folder with small protocols and submissions, of which one fails and one writes what is no slice."""
    for number in range(protocols):
        text = PROTOCOL.format(name=f"small{number}", size=64 + 32 * (number % 2))
        (folder / f"small{number}.yaml").write_text(text)
    commands = ["echo no >&2; exit 1", "echo no > /output/no.png"]
    commands += [f"sleep {number % 3}; cp /input/*.png /output" for number in range(submissions - 2)]
    for number, command in enumerate(commands):
        made = folder / "submissions" / f"slurm{number:03d}"
        made.mkdir(parents=True)
        (made / "Dockerfile").write_text(DOCKERFILE.format(command=command))
        (made / "submission.yaml").write_text(MANIFEST.format(slug=made.name))
    names = ", ".join(f"small{number}.yaml" for number in range(protocols))
    (folder / "plan.yaml").write_text(PLAN.format(protocols=names))


class Slurm:
    """Slurm's controller, its node and munge, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self) -> None:
        """Start all three. This machine must have no Slurm of its own."""
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
        text = CONFIGURATION.format(host=socket.gethostname(), folder=self.folder, cpus=CPUS, memory_mb=memory_mb)
        SLURM_CONF.parent.mkdir(exist_ok=True)
        with SLURM_CONF.open("x") as file:
            file.write(text)
        if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode != 0:
            for place in ("/run/munge", "/var/log/munge"):
                Path(place).mkdir(exist_ok=True)
                shutil.chown(place, "munge", "munge")
            subprocess.run(["su", "munge", "-s", "/bin/sh", "-c", "munged"], check=True)
        self.start_controller()
        subprocess.run(["slurmd"], check=True)
        while "idle" not in self.says("sinfo", "--noheader", "--format=%t"):
            time.sleep(0.5)

    def start_controller(self) -> None:
        subprocess.run(["slurmctld"], check=True)

    def kill(self, name: str) -> None:
        """Kill the daemon `name` (slurmctld, slurmd) with SIGKILL."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((self.folder / f"{name}.pid").read_text()), signal.SIGKILL)

    def says(self, *command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def running(self) -> list[str]:
        """The ids of the jobs that run."""
        return self.says("squeue", "--noheader", "--states=RUNNING", "--format=%i").split()

    def states(self) -> dict[str, int]:
        """How many jobs ended in which state."""
        found = self.says("squeue", "--noheader", "--states=all", "--format=%T").split()
        return {state: found.count(state) for state in sorted(set(found))}

    def stop(self) -> None:
        subprocess.run(["scancel", "--user=root"], check=False)
        for name in ("slurmd", "slurmctld"):
            self.kill(name)


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    one = Slurm(folder)
    one.start()
    try:
        yield one
    finally:
        one.stop()
        SLURM_CONF.unlink()


def harness(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "harness", *arguments]


def records(leaderboard: Path) -> list[str]:
    return sorted(record.id for record in read_records(leaderboard))


class Faults:
    """Kills running jobs at random, Slurm's controller once, and the campaign once."""

    def __init__(self, one: Slurm, *, jobs: int, seed: int) -> None:
        self.slurm, self.left, self.chance = one, jobs // 10, random.Random(seed)
        self.killed: list[str] = []
        self.controller = self.campaign = False

    def strike(self, folder: Path, campaign: subprocess.Popen[bytes]) -> None:
        """Do what is due, as far as the campaign has come."""
        scored, finished = len(list(folder.glob("scores/*/*.json"))), len(list(folder.glob("done/*/*/*")))
        running = set(self.slurm.running()) - set(self.killed)
        # from the first job to the last: one more for every ten that have ended
        if self.left and running and len(self.killed) <= (scored + finished) // 10 and self.chance.random() < 0.3:
            job = self.chance.choice(sorted(running))
            subprocess.run(["scancel", "--signal=KILL", "--full", job], check=False)
            self.killed.append(job)
            self.left -= 1
        if scored >= 4 and not self.controller:
            self.controller = True
            self.slurm.kill("slurmctld")
            time.sleep(5)
            self.slurm.start_controller()
        if scored >= 10 and not self.campaign:
            self.campaign = True
            children = Path(f"/proc/{campaign.pid}/task/{campaign.pid}/children").read_text().split()
            campaign.kill()
            for child in children:
                os.killpg(int(child), signal.SIGKILL)


def with_faults(folder: Path, faults: Faults) -> tuple[list[dict[str, Any]], int]:
    """The table at the end, and how often the command was given."""
    given, out = 0, folder / "table.json"
    while True:
        given += 1
        with out.open("wb") as table, (folder / "campaign.log").open("ab") as log:
            campaign = subprocess.Popen(harness("campaign", "plan.yaml", *SLURM), cwd=folder, stdout=table, stderr=log)
            while campaign.poll() is None:
                faults.strike(folder / "plan.campaign", campaign)
                time.sleep(1)
        if campaign.returncode == -signal.SIGKILL:
            continue
        rows: list[dict[str, Any]] = json.loads(out.read_text())
        if all(row["record"] for row in rows) or given > 4:
            return rows, given


def without_faults(folder: Path, *, submissions: int) -> None:
    """The records of `harness run`, in `alone/`."""
    organiser(folder, submissions=submissions, protocols=2)
    for name in ("small0", "small1"):
        names = [str(path.relative_to(folder)) for path in sorted(folder.glob("submissions/*"))]
        command = harness("run", *names, "-p", f"{name}.yaml", "--leaderboard", "alone", "--jobs", "2", "-q", "--json")
        subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=False)


def compare(folder: Path, *, submissions: int, seed: int) -> dict[str, Any]:
    if not (folder / "alone").exists():
        without_faults(folder, submissions=submissions)
    (folder / "slurm").mkdir()
    began = time.monotonic()
    with slurm(folder / "slurm") as one:
        faults = Faults(one, jobs=2 + 4 * submissions, seed=seed)
        rows, given = with_faults(folder, faults)
        states, release = one.states(), one.says("sinfo", "--version").split()[-1]
    alone, found = records(folder / "alone"), records(folder / "board")
    return {
        "submissions": submissions,
        "protocols": 2,
        "seconds": round(time.monotonic() - began),
        "jobs_by_state": states,
        "killed_jobs": len(faults.killed),
        "controller_restarted": faults.controller,
        "campaign_killed": faults.campaign,
        "command_given": given,
        "records": len(found),
        "same_ids_as_harness_run": found == alone,
        "twice": len(found) - len(set(found)),
        "lost": len(set(alone) - set(found)),
        "rows": len(rows),
        "rows_by_exit": {str(code): sum(row["exit"] == code for row in rows) for code in {row["exit"] for row in rows}},
        "files_of_the_campaign": sum(path.is_file() for path in (folder / "plan.campaign").rglob("*")),
        "slurm": release,
    }


def on_paper(folder: Path) -> dict[str, Any]:
    """Seconds and memory of the controller before the first of 2005 jobs, and its files."""
    organiser(folder, submissions=200, protocols=5)
    began = time.monotonic()
    command = harness("campaign", "plan.yaml", "--dry-run")
    subprocess.run(command, cwd=folder, check=True, stderr=subprocess.DEVNULL)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "cells": 1000,
        "jobs": 2005,
        "seconds": round(time.monotonic() - began, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mb": round(usage.ru_maxrss / 1000),
        "campaign_json_kb": round((folder / "plan.campaign/campaign.json").stat().st_size / 1000),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--submissions", type=int, default=12)
    parser.add_argument("--seed", type=int, default=19)
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--folder", type=Path, help="keep all files there")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        os.environ["HARNESS_CACHE"] = str(folder / "cache")
        part = "plan" if asked.plan else "faults"
        found = on_paper(folder) if asked.plan else compare(folder, submissions=asked.submissions, seed=asked.seed)
    known = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    packages = ("snakemake", "snakemake-executor-plugin-slurm")
    found |= {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": source_commit()[0],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }
    RESULT.write_text(json.dumps(known | {part: found}, indent=1, sort_keys=True) + "\n")
    print(json.dumps(found, indent=1, sort_keys=True))
    if part == "faults" and not (found["same_ids_as_harness_run"] and not found["twice"] and not found["lost"]):
        sys.exit("the records are not those of harness run")


if __name__ == "__main__":
    main()
