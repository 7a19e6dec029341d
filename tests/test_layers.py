"""What holds of the source as text: the import order (CONTRIBUTING, "How the package is layered"), sizes."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import LONGEST, TESTS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "harness"
BASE = ["base"]
PURE = ["imaging", "phantom", "features", "metrics", "observer", "statistics"]
STAGES = [
    "sandbox", "protocol", "dataset", "importing", "labels", "submission", "engines", "run", "scoring", "records",
    "reference_check", "board", "pipeline", "ci", "campaign", "doctor", "cli", "__main__",
]  # fmt: skip
ORDER = [*BASE, *PURE, *STAGES]
LONGEST_FILE, LONGEST_FUNCTION = 400, 60  # lines
LONGER: dict[str, str] = {}  # file, or file::function -> why it may be longer
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


def too_long(path: Path, root: Path = ROOT) -> Iterator[str]:
    """A file, and functions in it (docstring included, decorators not), with more lines than are allowed."""
    name, text = str(path.relative_to(root)), path.read_text()
    if len(text.splitlines()) > LONGEST_FILE:
        yield name
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            if node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION:
                yield f"{name}::{node.name}"


def test_files_and_functions_are_short() -> None:
    files = [path for folder in ("harness", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    assert sorted(name for path in [*files, ROOT / "setup.py"] for name in too_long(path)) == sorted(LONGER)


def test_what_is_too_long_is_found(tmp_path: Path) -> None:
    def function(name: str, lines: int) -> str:
        return f"def {name}():\n" + "    pass\n" * (lines - 1)

    (tmp_path / "right.py").write_text(function("a", 60) + "\n" * 340)
    (tmp_path / "long.py").write_text("class C:\n    async " + function("b", 61).replace("    ", " " * 8) + "\n" * 339)
    assert list(too_long(tmp_path / "right.py", tmp_path)) == []
    assert list(too_long(tmp_path / "long.py", tmp_path)) == ["long.py", "long.py::b"]


def test_every_usage_error_says_what_to_do() -> None:
    silent = [
        f"{module_of(path)}:{call.lineno}"
        for path in SOURCES
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "UsageError"
        if not any(key.arg == "fix" for key in call.keywords)
    ]
    assert silent == []


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
