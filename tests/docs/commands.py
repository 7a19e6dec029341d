"""The commands that the documents tell people to type, and how each is run by the tests: as it stands where it can be.

They run in a folder of their own that looks like a checkout, whose protocols are tiny ones under the same names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"(harness|make|python3?|pip|docker|git|openssl) [a-z-]|(docker|\.venv/bin)/\S|eval |\(umask ")


@dataclass(frozen=True, kw_only=True)
class Command:
    """A line to type, and the lines that the document shows as its output, if any."""

    text: str
    shown: tuple[str, ...] = ()

    @property
    def status(self) -> int:
        """The exit status that the shown output tells of."""
        said = re.search(r"^stage: .*\(exit status (\d+)\)$", "\n".join(self.shown), re.MULTILINE)
        return int(said[1]) if said else 0


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A change that the document tells to make in a file, as a diff of whole lines."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class File:
    """A file that the document tells to write: a block with the file's name as its title."""

    file: str
    text: str


@dataclass(frozen=True, kw_only=True)
class As:
    """How a command is run where it cannot be as it stands."""

    run: str


@dataclass(frozen=True, kw_only=True)
class Help:
    """Not run, for a stated reason: only the --help of `of`, which must know every option that the command uses."""

    of: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Dry:
    """`make`, told to say what it would do."""

    why: str


class AsItStands:
    """Run letter for letter."""


HERE = AsItStands()
SETUP = Dry(why="it sets this machine up, or runs all of the tests")
CAMPAIGN = "tests/campaign/test_campaign.py runs one of its own, benchmarks/slurm.py one on Slurm"
PULL_REQUEST = "tests/ci/test_jobs.py runs it on pull requests of its own"
HOW: dict[str, As | Help | Dry | AsItStands] = {
    # setting up
    "make demo": SETUP,
    "make test": SETUP,
    "make setup": SETUP,
    "python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e '.[dev]'": As(
        run="python3 -m venv --help && test -f constraints.txt && grep '^dev = ' pyproject.toml"
    ),
    ".venv/bin/python -m pip wheel --no-deps -w dist .": Help(
        of="python3 -m pip wheel", why="tests/test_wheel.py builds it and runs it in an environment of its own"
    ),
    "pip install dist/ipv2_harness-*.whl": Help(
        of="python3 -m pip install", why="tests/test_wheel.py does it without a network"
    ),
    "harness engine start": HERE,  # one runs
    "docker/start-engine": As(run="test -x docker/start-engine"),  # the fixture `engine` has just run both
    "docker/build-base": As(run="test -x docker/build-base"),
    "harness engine build-base --torch": Help(
        of="harness engine build-base", why="tests/containers/test_torch.py does it"
    ),
    "harness run submissions/tv": HERE,
    ".venv/bin/harness run submissions/tv": As(run="harness run submissions/tv"),
    'eval "$(_HARNESS_COMPLETE=bash_source harness)"': As(
        run='eval "$(_HARNESS_COMPLETE=bash_source harness)" && complete -p harness'
    ),
    # a submitter's
    "harness new my-model": HERE,
    'harness new my-model --author "Jane Doe"': HERE,
    "harness check submissions/my-model": HERE,
    "harness run submissions/my-model": HERE,
    "harness run submissions/my-model --repeat 2": HERE,
    "harness labels -o set/": HERE,
    "harness score outputs/": HERE,
    "harness score outputs/ --no-features": HERE,
    # an organiser's
    "pip install 'ipv2-harness[scans]'": As(run="grep '^scans = ' pyproject.toml"),
    "pip install 'ipv2-harness[campaign]'": As(run="grep '^campaign = ' pyproject.toml"),
    "harness campaign autumn.yaml --dry-run": HERE,
    "harness campaign autumn.yaml": Help(of="harness campaign", why=CAMPAIGN),
    "harness campaign autumn.yaml --executor slurm --jobs 200": Help(of="harness campaign", why=CAMPAIGN),
    "make slurm": Dry(why="it starts a Slurm on this machine, and takes a quarter of an hour"),
    "harness import scans -o data/mayo": HERE,
    "harness import scans -o data/thin --low quarter_1mm --normal full_1mm": HERE,
    "harness import arrays -o data/arrays --low '*_input.npy' --normal '*_target.npy' --patient '(L[0-9]+)_' "
    "--pixel-mm 0.7 --paired": Help(of="harness import", why="tests/importing/test_formats.py imports such files"),
    "harness import chest -o data/chest": HERE,
    "harness labels -p chest.yaml -o labels": HERE,
    "harness labels -p chest.yaml --report": HERE,
    "harness new my-hu": HERE,
    "harness check submissions/my-hu -p chest.yaml": HERE,
    "harness run submissions/my-hu -p chest.yaml": HERE,
    "harness run submissions/tv -p chest.yaml": HERE,
    "harness audit e62c816fa4a3c044": As(run="harness audit $HU_RECORD"),
    "harness doctor": HERE,
    "harness list": HERE,
    "harness list protocols": HERE,
    "harness list records": HERE,
    "harness run submissions/tv -p protocols/other.yaml --leaderboard /somewhere/else": As(
        run="harness run submissions/tv -p protocols/other.yaml --leaderboard somewhere/else"
    ),
    "harness run submissions/tv -p protocols/phantom-mini.yaml --leaderboard /somewhere/else": As(
        run="harness run submissions/tv -p protocols/phantom-mini.yaml --leaderboard somewhere/else"
    ),
    "harness run submissions/tv -p patient-uldct": HERE,  # the phantom's slices stand for the patients'
    ".venv/bin/python -m benchmarks.abdomen -o abdomen": As(run="python3 -m benchmarks.abdomen -o abdomen"),
    "harness run submissions/tv -p abdomen.yaml --leaderboard abdomen-board": HERE,
    "harness run submissions/* --jobs 2": HERE,
    "harness anchors -p phantom": HERE,
    "harness data digests -p protocols/other.yaml": HERE,
    "harness data check -p phantom": As(run="harness data digests -p phantom && harness data check -p phantom"),
    "harness data export -p phantom -o phantom-5.tar": As(
        run="harness data digests -p phantom && harness data export -p phantom -o phantom-5.tar"
    ),
    "harness data import phantom-5.tar": HERE,
    "harness board": HERE,
    "harness board --check": HERE,
    "harness board --publish public": HERE,
    "harness board --publish public --features": HERE,
    "harness store list": HERE,
    "harness store pull RECORD": As(run="harness store pull $RECORD"),
    "harness store pull": HERE,
    "git restore --source d154c7b --worktree -- leaderboard/records": As(run="git restore -h | grep -e --worktree"),
    "git restore -- leaderboard/records": As(run="git restore -h | grep -e --source"),
    "harness store check": HERE,
    "harness store push --to /mnt/shared/store": As(run="harness store push --to shared/store"),
    "harness store push --to s3://bucket/store": Help(of="harness store push", why="needs a bucket"),
    "harness labels -p phantom --report --json > leaderboard/records/phantom-5/labels.json": HERE,
    "harness withdraw RECORD --reason TEXT": As(run="harness withdraw $RECORD --reason TEXT"),
    "harness weights list": HERE,
    "harness weights verify": HERE,
    "harness weights download inception": Help(of="harness weights download", why="needs a network, and is 100 MB"),
    "(umask 077; openssl genpkey -algorithm ed25519 -out ~/private/key.pem)": HERE,
    "harness secret new -p mine -o ~/private/mine.json": Help(
        of="harness secret new", why="tests/dataset/test_secret.py draws secrets for protocols of its own"
    ),
    "harness sign": HERE,
    "harness sign RECORD...": As(run="harness sign $RECORD"),
    "harness sign --all": HERE,
    "harness board --check --signed": As(
        run='echo "signers: [{name: A, key: $(harness sign | sed s/.*:.//)}]" > leaderboard/signers.yaml && '
        "harness board && harness board --check --signed"
    ),
    "harness run submissions/my-model --engine podman": Help(
        of="harness run", why="tests/engines and tests/containers run on Podman where it is installed"
    ),
    "harness ci check --base main --head FETCH_HEAD": Help(of="harness ci check", why=PULL_REQUEST),
    "harness ci inputs -p phantom -o inputs/": HERE,
    "harness ci run --base main --head FETCH_HEAD -p phantom --inputs inputs/ -o finished/": Help(
        of="harness ci run", why=PULL_REQUEST
    ),
    "harness ci score finished/ --base main --head FETCH_HEAD -p phantom": Help(
        of="harness ci score", why=PULL_REQUEST
    ),
    # a reviewer's
    "harness audit acaf613633ec35b0": As(run="harness audit $RECORD"),
    "harness audit RECORD": As(run="harness audit $RECORD"),
    "harness audit RECORD --outputs FOLDER --json": As(run="harness audit $RECORD --outputs outputs --json"),
    "harness run submissions/tv --fresh --leaderboard /tmp/again": As(
        run="harness run submissions/tv --fresh --leaderboard again"
    ),
    # measuring
    ".venv/bin/python -m benchmarks.metrics --pictures docs": Help(
        of="python3 -m benchmarks.metrics", why="two minutes of scoring"
    ),
    ".venv/bin/python -m benchmarks.validity": Help(of="python3 -m benchmarks.validity", why="an hour of scoring"),
    ".venv/bin/python -m benchmarks.coupled --real FOLDER": Help(
        of="python3 -m benchmarks.coupled", why="minutes of denoising"
    ),
    ".venv/bin/python benchmarks/purification.py --pictures docs": Help(
        of="python3 benchmarks/purification.py", why="minutes of measuring"
    ),
    ".venv/bin/python -m benchmarks.reproduction": Help(
        of="python3 -m benchmarks.reproduction", why="an hour of training (tests/test_baselines.py trains small ones)"
    ),
    ".venv/bin/python -m benchmarks.reproduction --real FOLDER": Help(
        of="python3 -m benchmarks.reproduction", why="it needs the networks of the one above"
    ),
    ".venv/bin/python -m benchmarks.reproduction --tables --pictures docs": As(
        run="python3 -m benchmarks.reproduction --tables"
    ),
    ".venv/bin/python -m benchmarks.train unet --strategy ipv2 --variant corrected": Help(
        of="python3 -m benchmarks.train", why="a minute of training"
    ),
    ".venv/bin/python -m benchmarks.train unet --variant corrected --setting baseline --into submissions/unet": Help(
        of="python3 -m benchmarks.train", why="ten minutes of training"
    ),
    ".venv/bin/python -m benchmarks.baselines": Help(
        of="python3 -m benchmarks.baselines", why="minutes of scanning and denoising"
    ),
    ".venv/bin/python -m benchmarks.baselines --protocol phantom": Help(
        of="python3 -m benchmarks.baselines", why="minutes of denoising"
    ),
    ".venv/bin/python tests/processors/build.py": Help(
        of="python3 tests/processors/build.py", why="tests/processors runs it once for each processor"
    ),
    ".venv/bin/python benchmarks/portability.py statistics new.json --write patients.pickle": Help(
        of="python3 benchmarks/portability.py statistics", why="minutes of scanning"
    ),
    ".venv/bin/python benchmarks/portability.py statistics old.json --read patients.pickle": Help(
        of="python3 benchmarks/portability.py statistics", why="it needs a checkout of an earlier version"
    ),
    ".venv/bin/python benchmarks/portability.py compare old.json new.json": Help(
        of="python3 benchmarks/portability.py compare", why="it needs what the two above write"
    ),
    ".venv/bin/python benchmarks/portability.py seconds": Help(
        of="python3 benchmarks/portability.py seconds", why="it needs a checkout of an earlier version"
    ),
    # purification
    "harness labels -p phantom -o labels/": HERE,
    "harness labels -p phantom --report": HERE,
    "harness pairs --strategy ipv2 --variant corrected -o pairs/": HERE,
    "harness noise -p mine.yaml -o noise.yaml": Help(
        of="harness noise",
        why="it seeks smooth ground in slices of full size, for a minute (tests/imaging/test_noise_fit.py fits)",
    ),
    "harness pairs -p mine-train.yaml --variant corrected --noise noise.yaml -o pairs/": As(
        run="harness pairs -p mine-train.yaml --variant corrected --noise noise.yaml -o others/"
    ),
}


class Block(NamedTuple):
    """A block of a document: its language ("" where it is indented), the file that its title names, and its lines."""

    language: str
    file: str
    lines: list[str]


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a document."""
    lines = iter(text.splitlines())
    block: list[str] = []
    for line in lines:
        fence = re.match(r'\s*```(\w*)(?: title="(.*)")?', line)
        if not fence and line.startswith("    "):
            block.append(line.strip())
            continue
        if block and line.strip():
            yield Block("", "", block)
            block = []
        if fence:
            yield Block(fence[1], fence[2] or "", list(iter(lambda: next(lines), "```")))
    if block:
        yield Block("", "", block)


def steps(document: Path) -> Iterator[Command | Edit | File]:
    """What a document tells to type, to change and to write, in its order."""
    for language, file, lines in blocks(document.read_text()):
        if language == "diff":
            (old,), (new,) = ([line[1:] for line in lines if line.startswith(sign)] for sign in "-+")
            yield Edit(file=file, old=old, new=new)
        elif file:
            yield File(file=file, text="\n".join([*lines, ""]))
        elif language == "console":
            for part in re.split(r"^\$ ", "\n".join(lines), flags=re.MULTILINE)[1:]:
                text, *shown = part.splitlines()
                yield Command(text=text, shown=tuple(shown))
        elif language in ("", "bash", "sh"):
            for line in lines:
                if COMMAND.match(line):
                    yield Command(text=re.sub(r"\s+#.*$", "", line))
