"""The import order (CONTRIBUTING, "How the package is layered"), read from the source, inside functions too."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import LONGEST, TESTS

PACKAGE = Path(__file__).resolve().parent.parent / "harness"
BASE = ["base"]
PURE = ["imaging", "phantom", "features", "metrics", "statistics"]
STAGES = [
    "sandbox", "protocol", "dataset", "labels", "submission", "engines", "run", "scoring", "records",
    "reference_check", "board", "pipeline", "ci", "doctor", "cli", "__main__",
]  # fmt: skip
ORDER = [*BASE, *PURE, *STAGES]
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(path: Path) -> str:
    """The entry of ORDER that a source file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_of(path: Path) -> str:
    """A source file's name as a module."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path) for path in SOURCES}


def imports(path: Path) -> set[str]:
    """The modules of this package that a source file imports, wherever in the file; those for type checkers too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                names.add(inside if inside in MODULES else str(node.module))
    return names & MODULES


def test_rooms_are_all_in_the_order() -> None:
    rooms = {room_of(path) for path in SOURCES}
    assert rooms == set(ORDER)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_upwards_only(path: Path) -> None:
    own = room_of(path)
    allowed = set(BASE + PURE) if own in PURE else set(ORDER[: ORDER.index(own) + 1])
    assert {name.split(".")[1] for name in imports(path)} <= allowed


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {module_of(path): imports(path) - {module_of(path)} for path in SOURCES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_private_name_is_used_outside_its_folder() -> None:
    for path in SOURCES:
        for name in imports(path):
            private = next((part for part in name.split(".") if part.startswith("_") and part != "__main__"), None)
            if private is not None:
                folder = name.split(f".{private}")[0]
                assert module_of(path).startswith(folder), f"{path} imports {name}"


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "sys.argv = ['harness', '--help']\n"
        "from harness.cli import main\n"
        "try:\n    main()\nexcept SystemExit as leave:\n    assert leave.code == 0\n"
        "heavy = {'torch', 'docker', 'pandas', 'numpy', 'numba', 'cv2', 'skimage', 'open_clip', 'cryptography'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout


def test_the_files_of_tests_that_start_first_are_there() -> None:
    assert [name for name in LONGEST if not (TESTS / name).is_file()] == []
