"""SHA-256 of code: the part of a cache key that says which program made what is cached."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

from harness.base.digests import digest_bytes

ROOT = Path(__file__).resolve().parents[2]

PURE = (
    "harness.imaging",
    "harness.phantom",
    "harness.features",
    "harness.metrics",
    "harness.observer",
    "harness.statistics",
)
"""The rooms whose functions decide values: arrays in, arrays out."""


@functools.cache
def digest_code(*modules: str) -> str:
    """SHA-256 (hex) of names and bytes of the files that `code_of` finds. ValueError as there."""
    parts: list[bytes] = []
    for path in code_of(*modules):
        parts += [path.relative_to(ROOT).as_posix().encode(), path.read_bytes()]
    return digest_bytes(*parts)


def code_of(*modules: str) -> list[Path]:
    """The files of the named modules and of all that they import from the pure rooms and from their own rooms, sorted.

    The imports are read from the source, those inside functions included, and followed from module to module. A
    package counts with every file in it, since its plug-ins are imported by name at run time; a module counts with
    the data files of its name (weights) and with the `__init__.py` of the packages that it lies in.

    `base` and other stages stay out: they read, write and report, and what they hand over (a recipe, a data set) is
    a value that belongs in the key itself. A key that depended on them would go stale with every message.

    ValueError for a name that is no module of this package.
    """
    rooms = (*PURE, *(".".join(module.split(".")[:2]) for module in modules))
    found: set[Path] = set()
    waiting, seen = list(modules), set(modules)
    while waiting:
        module = waiting.pop()
        files = _files(module)
        if not files:
            raise ValueError(f"{module}: no module of this package")
        for path in files - found:
            names = {name for name in _imports(path) if ".".join(name.split(".")[:2]) in rooms}
            waiting += names - seen
            seen |= names
        found |= files
    return sorted(found)


@functools.cache
def _files(module: str) -> frozenset[Path]:
    """The files that a module consists of; none where there is no such module."""
    path = ROOT.joinpath(*module.split("."))
    if (path / "__init__.py").is_file():
        inside = {one for one in path.rglob("*") if one.is_file() and "__pycache__" not in one.parts}
    elif path.with_suffix(".py").is_file():
        inside = {one for one in path.parent.glob(f"{path.name}.*") if one.is_file()}
    else:
        return frozenset()
    around = (parent / "__init__.py" for parent in path.parents if ROOT / "harness" in parent.parents)
    return frozenset(inside | {one for one in around if one.is_file()})


@functools.cache
def _imports(path: Path) -> frozenset[str]:
    """The modules of this package that a source file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())) if path.suffix == ".py" else ():
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                names.add(inside if inside.startswith("harness.") and _files(inside) else node.module)
    return frozenset(name for name in names if name.startswith("harness."))
