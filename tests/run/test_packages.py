from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from harness.base.errors import InfrastructureError, UsageError
from harness.engines import BASE_IMAGE, Engine
from harness.run.packages import add_packages
from tests.command import harness
from tests.small import small_protocol


def wheel(folder: Path, name: str, *needs: str) -> None:
    """A wheel of an empty module, made by hand."""
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", "")
        needed = "".join(f"Requires-Dist: {one}\n" for one in needs)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needed}")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package index in a folder: `mine` needs `other`."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel(folder, "mine", "other")
    wheel(folder, "other")
    for key, value in (("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(folder)), ("PIP_CONFIG_FILE", "/dev/null")):
        monkeypatch.setenv(key, value)


@pytest.mark.usefixtures("index")
def test_a_package_comes_with_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("numpy\n")
    assert add_packages(tmp_path, ["mine"]) == ["mine-1.0-py3-none-any.whl", "other-1.0-py3-none-any.whl"]
    assert (tmp_path / "requirements.txt").read_text() == "numpy\nmine\n"


@pytest.mark.usefixtures("index")
def test_an_unknown_package_leaves_no_folder(tmp_path: Path) -> None:
    done = harness("new", "my-model", "--package", "no_such", "--into", str(tmp_path))
    assert done.returncode == 2
    assert "pip finds: No matching distribution found for no_such" in done.stderr
    assert not (tmp_path / "my-model").exists()
    for name in ("", "-r/etc/hosts", "two words"):
        with pytest.raises(UsageError, match="Invalid requirement"):
            add_packages(tmp_path, [name])


def test_an_index_that_cannot_be_reached_is_no_mistake_of_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in (("INDEX_URL", "https://127.0.0.1:1"), ("RETRIES", "1"), ("CONFIG_FILE", "/dev/null")):
        monkeypatch.setenv(f"PIP_{key}", value)
    with pytest.raises(InfrastructureError, match="connection broken"):
        add_packages(tmp_path, ["mine"])


@pytest.mark.engine
@pytest.mark.usefixtures("index")
def test_a_new_submission_installs_its_wheels_without_network(engine: Engine, tmp_path: Path) -> None:
    assert engine.find_image(BASE_IMAGE)
    assert harness("new", "my-model", "--package", "mine", "--into", str(tmp_path)).returncode == 0
    program = tmp_path / "my-model" / "denoise.py"
    program.write_text(f"import mine, other\n{program.read_text()}")
    (tmp_path / "small.yaml").write_text(small_protocol("patients: 1, slices: 1, size: 64"))
    checked = ("check", str(tmp_path / "my-model"), "-p", str(tmp_path / "small.yaml"))
    done = harness(*checked, HARNESS_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert "valid: 1 slice" in done.stdout
