"""The wheel in an environment of its own, away from any checkout: all that `harness run` needs comes with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.engines import BASE_IMAGE, Engine
from tests.small import small_protocol

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("harness", "protocols", "submissions/template", "docker", "pyproject.toml", "setup.py", "MANIFEST.in")
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"

Harness = Callable[..., subprocess.CompletedProcess[str]]


def built(kind: str, source: Path, into: Path) -> Path:
    """What the build backend makes of a source tree, as `python -m build` asks it to."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, kind, str(into)], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return into / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the source distribution of this checkout."""
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    for name in (*SOURCES, "README.md", "LICENSE"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    with tarfile.open(built("build_sdist", source, folder)) as sdist:
        sdist.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return built("build_wheel", unpacked, folder)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    """`harness` of an environment that holds the wheel, and the packages of this one but not its harness."""
    folder, cache = tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("cache")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # folders that a .pth file names are searched, but their own .pth files, an editable install's, are not read
    others = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site / "others.pth").write_text("\n".join(others) + "\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def harness(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [folder / "bin" / "python", "-m", "harness", *arguments],
            cwd=cwd,
            env={**environment, "HARNESS_CACHE": str(cache), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )

    return harness


def test_the_wheel_holds_what_a_checkout_has(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder in ("protocols", "submissions/template", "docker"):
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert files
        assert {f"harness/_shipped/{path.relative_to(ROOT)}" for path in files} <= names
    assert not [name for name in names if not name.startswith(("harness/", "ipv2_harness-"))]


def test_a_local_protocol_takes_the_place_of_the_one_that_comes_with_the_harness(
    installed: Harness, tmp_path: Path
) -> None:
    def titles() -> dict[str, str]:
        done = installed("list", "protocols", "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return {one["name"]: one["title"] for one in json.loads(done.stdout)}

    shipped = titles()
    assert set(shipped) == {path.stem for path in (ROOT / "protocols").glob("*.yaml")}
    (tmp_path / "protocols").mkdir()
    text = (ROOT / "protocols" / "phantom.yaml").read_text()
    (tmp_path / "protocols" / "phantom.yaml").write_text(text.replace(shipped["phantom"], "My own"))
    assert titles() == shipped | {"phantom": "My own"}
    refused = installed("check", "submissions/x", "-p", "phantm", cwd=tmp_path)
    assert refused.returncode == 2
    assert "phantom-mini" in refused.stderr


@pytest.mark.engine
def test_a_submission_is_made_checked_and_scored_from_an_empty_folder(
    engine: Engine, installed: Harness, tmp_path: Path
) -> None:
    assert engine.find_image(BASE_IMAGE)
    (tmp_path / "small.yaml").write_text(small_protocol())
    for command in (
        ("new", "my-model"),
        ("engine", "build-base"),
        ("check", "submissions/my-model", "-p", "small.yaml"),
        ("run", "submissions/my-model", "-p", "small.yaml"),
    ):
        done = installed(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    (record,) = tmp_path.glob("leaderboard/records/phantom-mini-5/my-model/*/record.json")
    fields = json.loads(record.read_text())
    assert fields["result"]["status"] == "scored"
    assert fields["observed"]["commit"] is None
    assert {path.name for path in tmp_path.iterdir()} == {"small.yaml", "submissions", "leaderboard"}
