"""The import order (CONTRIBUTING, "How the package is layered"), read from the source, inside functions too."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "harness"
BASE = ["errors", "files", "process", "download", "torchvision_shim"]
PURE = ["imaging", "phantom", "features", "metrics", "statistics"]
STAGES = [
    "sandbox", "dockerfile", "protocol", "secret", "submission", "data", "training", "purify", "labels", "pairs",
    "anchors", "engines", "image", "png", "outputs", "staging", "run", "measure", "copies", "score", "pictures",
    "label_audit", "signing", "record", "attempt", "handover", "audit", "board", "pipeline", "pull_request", "ci",
    "doctor", "terminal", "cli", "__main__",
]  # fmt: skip
ORDER = [*BASE, *PURE, *STAGES]
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def part_of(path: Path) -> str:
    """The entry of ORDER that a source file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    """The entries of ORDER that a source file imports, wherever in the file."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    parts = {name.split(".")[1] for name in names if name.startswith("harness.")}
    return parts - {"__version__"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_upwards_only(path: Path) -> None:
    own = part_of(path)
    assert own in ORDER, f"{path}: give it a place in the order"
    allowed = set(BASE + PURE) if own in PURE else set(ORDER[: ORDER.index(own) + 1])
    assert imported_parts(path) <= allowed


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
