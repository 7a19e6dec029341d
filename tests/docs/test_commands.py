"""Every command of README.md and docs/*.md is run (`tests/docs/commands.py` says how)."""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.engines import BASE_IMAGE, Engine
from tests.command import Done, harness, python
from tests.docs.commands import DOCUMENTS, HOW, ROOT, As, Command, Dry, Edit, File, Help, steps
from tests.importing.made import chest_study, study

WITH_COMMANDS = [path for path in DOCUMENTS if any(isinstance(step, Command) for step in steps(path))]
DATA = "data: {source: phantom, patients: 1, slices: 1, size: 128}\n"
METRICS = "metrics: [{name: RMSE, metric: rmse}, {name: PSNR, metric: psnr}]\nrank_by: {metric: RMSE}\n"
FOR_NO_SHELL = re.compile(r"""harness( [\w./=:-]+| "[\w ]+")+""")
NOISE = "dose: 0.1\nscanner: {photons: 2.0e+5, electronic: 4, kernel: sharp}\n"


def tiny(text: str) -> str:
    """A protocol of the same name and version with one slice, scored by image metrics alone."""
    text, replaced = re.subn(r"(?ms)^data:.*?(?=^\S)", DATA, text)
    assert replaced == 1
    text = re.sub(r"(?ms)^metrics:.*?^rank_by: .*?$\n", METRICS, text)
    of_data = r"limits: |regions: |lesion_gate: |gate: |anatomy: |purify: {strategy: none}"
    return re.sub(rf"^({of_data}).*\n", "", text, flags=re.MULTILINE)


class World:
    """A folder that looks like a checkout, with programs of its own and a cache that all of them share."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder, self.cache = folder, cache

    def furnish(self) -> None:
        for name in ("template", "tv"):
            shutil.copytree(ROOT / "submissions" / name, self.folder / "submissions" / name)
        shutil.copytree(ROOT / "docker", self.folder / "docker")
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.folder / name)
        (self.folder / "protocols").mkdir()
        for path in (ROOT / "protocols").glob("*.yaml"):
            (self.folder / "protocols" / path.name).write_text(tiny(path.read_text()))
        phantom = (self.folder / "protocols" / "phantom.yaml").read_text()
        (self.folder / "protocols" / "other.yaml").write_text(phantom.replace("name: phantom", "name: other"))
        (self.folder / "mine.yaml").write_text(phantom.replace("name: phantom", "name: mine"))
        training = phantom.replace("name: phantom", "name: mine-train") + "use: train\n"
        (self.folder / "mine-train.yaml").write_text(training)
        (self.folder / "noise.yaml").write_text(NOISE)
        study(self.folder / "scans")
        chest_study(self.folder / "chest")
        (self.folder / "private").mkdir(mode=0o700)
        (self.folder / "bin").mkdir()
        for name, words in (("harness", "-m harness"), ("python3", "")):
            script = self.folder / "bin" / name
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
            script.chmod(0o755)

    def run(self, command: str) -> Done:
        """A line as a shell takes it, with $RECORD of a run of submissions/tv and $HU_RECORD of my-hu; standard
        error comes with the output.

        Where there is nothing for a shell to do but to split the words of a `harness` this process runs it.
        """
        key = self.folder / "private" / "key.pem"
        for variable, slug in (("$RECORD", "tv"), ("$HU_RECORD", "my-hu")):
            record = next(map(str, self.folder.glob(f"leaderboard/records/*/{slug}/*")), "")
            command = command.replace(variable, record)
        own = {
            "HOME": str(self.folder),
            "HARNESS_CACHE": str(self.cache),
            "COLUMNS": "110",
            **({"HARNESS_SIGNING_KEY": str(key)} if key.exists() else {}),
        }
        if FOR_NO_SHELL.fullmatch(command):
            done = harness(*shlex.split(command)[1:], cwd=self.folder, **own)
            return Done(command, done.returncode, done.stdout + done.stderr)
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env={**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), **own},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


@functools.cache
def help_of(program: str) -> str:
    """What `harness VERB` or `python3 ...` of this checkout prints for --help, or pip, in a process of its own."""
    name, *words = [*shlex.split(program), "--help"]
    if words[:2] == ["-m", "pip"]:
        return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True).stdout
    done = {"harness": harness, "python3": python}[name](*words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def base(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> World:
    """One world in which submissions/tv has run, to be copied for each document."""
    assert engine.find_image(BASE_IMAGE)
    world = World(tmp_path_factory.mktemp("world"), tmp_path_factory.mktemp("cache"))
    world.furnish()
    done = world.run("harness run submissions/tv")
    assert done.returncode == 0, done.stdout
    (outputs,) = world.cache.glob("runs/*/outputs")
    shutil.copytree(outputs, world.folder / "outputs")
    return world


def perform(world: World, command: Command) -> str:
    """Run a command as its table says; what it printed."""
    how = HOW[command.text]
    if isinstance(how, Help):
        text = help_of(how.of)
        for option in re.findall(r"(?<= )--?[a-z][a-z-]*", command.text.partition(how.of.split()[-1])[2]):
            assert option in text, f"{command.text}: {how.of} knows no {option}"
        return text
    if isinstance(how, Dry):
        done = world.run(command.text.replace("make ", "make -n ", 1))
    else:
        done = world.run(how.run if isinstance(how, As) else command.text)
    assert done.returncode == command.status, f"$ {command.text}\n{done.stdout}"
    return done.stdout


def plain(line: str) -> str:
    """A line without the box that it may stand in, and without what varies in width."""
    return " ".join(line.strip(" │╭╮╰╯─┃━┏┓┗┛").split())


@pytest.mark.engine
@pytest.mark.parametrize("document", WITH_COMMANDS, ids=lambda path: path.name)
def test_the_commands_of_a_document_run(document: Path, base: World, tmp_path: Path) -> None:
    world = World(tmp_path / "world", base.cache)
    shutil.copytree(base.folder, world.folder)
    for step in steps(document):
        if isinstance(step, Edit):
            edited = world.folder / step.file
            text = edited.read_text()
            assert text.count(step.old) == 1, f"{document.name}: {step.old!r} is not once in {step.file}"
            edited.write_text(text.replace(step.old, step.new))
            continue
        if isinstance(step, File):
            (world.folder / step.file).write_text(step.text)
            continue
        printed = {plain(line) for line in perform(world, step).splitlines()}
        # what varies has a digit in it
        shown = [line for line in map(plain, step.shown) if line not in ("", "...") and not re.search(r"\d", line)]
        missing = [line for line in shown if line not in printed]
        assert not missing, f"$ {step.text}\nprints no more what {document.name} shows: {missing}\n{printed}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_is_in_the_table(document: Path) -> None:
    unknown = [step.text for step in steps(document) if isinstance(step, Command) and step.text not in HOW]
    assert not unknown, f"{document.name}: say in tests/docs/commands.py how these are run"


def test_the_table_holds_no_command_that_nobody_is_told_to_type() -> None:
    told = {step.text for path in DOCUMENTS for step in steps(path) if isinstance(step, Command)}
    assert set(HOW) <= told
