from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.base import code_digest
from harness.base.code_digest import ROOT, code_of, digest_code

KEYS = [
    ("harness.phantom",),
    ("harness.labels.label_set",),
    ("harness.labels.training_pairs",),
    ("harness.imaging.noise", "harness.imaging.insertion"),
    ("harness.features", "harness.imaging.regions"),
]
"""The entry modules of every cache that is keyed by code."""


def names(*modules: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in code_of(*modules)}


def loaded_by(*modules: str) -> set[str]:
    """The files of this package that importing the modules really loads, asked of a fresh interpreter."""
    script = (
        "import importlib, json, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(json.dumps([m.__file__ for n, m in sys.modules.items() if n.startswith('harness.')]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *modules], capture_output=True, text=True, check=True)
    return {Path(path).relative_to(ROOT).as_posix() for path in json.loads(done.stdout)}


@pytest.mark.parametrize("modules", KEYS, ids=lambda modules: modules[0])
def test_a_key_covers_every_pure_module_that_is_loaded(modules: tuple[str, ...]) -> None:
    loaded = loaded_by(*modules)
    if (
        "harness/protocol/__init__.py" in loaded
    ):  # it takes types from `imaging`; its values stand in the keys themselves
        loaded -= loaded_by("harness.protocol")
    pure = {path for path in loaded if path.startswith(tuple(room.replace(".", "/") for room in code_digest.PURE))}
    assert pure
    assert pure <= names(*modules)


def test_the_phantoms_key_covers_its_codes_of_regions_and_its_scanner() -> None:
    assert {"harness/imaging/regions.py", "harness/imaging/tomography/parallel_beam.py"} <= names("harness.phantom")


def test_the_labels_key_covers_denoisers_that_are_loaded_by_name_and_their_weights() -> None:
    found = names("harness.labels.label_set")
    assert {f"harness/imaging/denoise/{name}" for name in ("nlm.py", "cnn.py", "cnn.safetensors")} <= found
    assert "harness/labels/recipe.py" in found
    assert "harness/imaging/denoise/cnn.safetensors" in names("harness.imaging.denoise.cnn")


def test_a_key_leaves_out_what_decides_no_value() -> None:
    rooms = {path.split("/")[1] for key in KEYS for path in names(*key)}
    assert rooms == {"imaging", "phantom", "features", "labels"}


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package in place of the real one."""
    shutil.copytree(ROOT / "harness", tmp_path / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code_digest, "ROOT", tmp_path)
    forget()
    yield tmp_path / "harness"
    forget()


def forget() -> None:
    for cached in (digest_code, code_digest._files, code_digest._imports):
        cached.cache_clear()


def test_a_changed_module_changes_the_keys_of_what_imports_it_and_no_other(copied: Path) -> None:
    def after(module: str, path: str) -> bool:
        forget()
        before = digest_code(module)
        with (copied / path).open("a") as file:
            file.write("\n# changed\n")
        forget()
        return digest_code(module) != before

    assert after("harness.phantom", "imaging/regions.py")
    assert after("harness.phantom", "phantom/vessels.py")
    assert not after("harness.phantom", "imaging/denoise/nlm.py")
    assert not after("harness.phantom", "base/errors.py")
    assert not after("harness.phantom", "dataset/from_phantom.py")


def test_an_import_inside_a_function_is_followed(copied: Path) -> None:
    (copied / "imaging" / "late.py").write_text("def f():\n    from harness.metrics import rmse\n    return rmse\n")
    assert copied / "metrics" / "rmse.py" in code_of("harness.imaging.late")


def test_a_name_that_is_no_module_is_refused() -> None:
    with pytest.raises(ValueError, match="no_such_module"):
        digest_code("harness.no_such_module")
