"""The cache of runs: a folder for each, with the outputs and what the run was."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from harness.base.errors import UsageError
from harness.base.files import atomic_folder, cache_root
from harness.base.png import Slice
from harness.base.slices import read_slices
from harness.base.structs import read_json, write_json
from harness.dataset.cases import Inputs
from harness.run.result import Run, digest_outputs


def run_folder(key: str) -> Path:
    """Where the run of that key (hex) is kept."""
    return cache_root() / "runs" / key[:32]


def keep_run(folder: Path, run: Run, slices: Mapping[str, Slice]) -> Run:
    """Write a finished run and its verified slices (by name) to `folder`, in place of an older one; returns it
    with the paths of its outputs."""
    run = msgspec.structs.replace(run, outputs=_paths(folder, slices))
    with atomic_folder(folder) as part:
        (part / "outputs").mkdir()
        for name, one in slices.items():
            (part / "outputs" / f"{name}.png").write_bytes(one.png)  # the verified file: no need to compress it again
        write_json(part / "run.json", run)
        shutil.rmtree(folder, ignore_errors=True)
    return run


def amend_run(folder: Path, run: Run) -> None:
    """Note what was found out about a kept run afterwards."""
    write_json(folder / "run.json", run)


def cached_run(folder: Path, dataset: Inputs) -> Run | None:
    """The run that is kept in `folder`, or None where there is none or it is damaged; a damaged one is removed."""
    if not folder.exists():
        return None
    paths = _paths(folder, (one.name for one in dataset.shown))
    try:
        run = read_json(folder / "run.json", Run)
        sound = digest_outputs(read_slices(paths)) == run.outputs_digest
    except UsageError:
        sound = False
    if not sound:
        shutil.rmtree(folder)
        return None
    return msgspec.structs.replace(run, outputs=paths, reused=True)


def cached_outputs(dataset: Inputs, digest: str) -> dict[str, Path] | None:
    """Outputs of that digest (`digest_outputs`) for a data set among the kept runs: slice -> PNG, or None."""
    for folder in sorted((cache_root() / "runs").glob("[!.]*")):
        # First by what run.json says: `cached_run` reads every image, and removes a run that does not fit this data.
        noted = folder / "run.json"
        if noted.is_file() and read_json(noted, dict[str, Any]).get("outputs_digest") == digest:
            run = cached_run(folder, dataset)
            if run is not None:
                return {name: Path(path) for name, path in run.outputs.items()}
    return None


def _paths(folder: Path, names: Iterable[str]) -> dict[str, str]:
    return {name: str(folder / "outputs" / f"{name}.png") for name in names}
