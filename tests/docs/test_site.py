"""The documents as a site."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.commands import ROOT

MISSING = [name for name in ("mkdocs", "material") if importlib.util.find_spec(name) is None]


@pytest.mark.skipif(bool(MISSING), reason=f"{' and '.join(MISSING)} not installed: pip install -e '.[docs]'")
def test_the_site_is_built_without_a_dead_link_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages = {path.name: path.read_text() for path in (tmp_path / "site").glob("*.html")}
    assert pages.keys() >= {f"{path.stem}.html" for path in (ROOT / "docs").glob("*.md")}
    for name, text in pages.items():
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]*src=\"([^\"]+)", text)
        loaded += re.findall(r"<link[^>]*rel=\"(?:stylesheet|preconnect|icon)\"[^>]*href=\"([^\"]+)", text)
        loaded += re.findall(r"<link[^>]*href=\"([^\"]+)\"[^>]*rel=\"(?:stylesheet|preconnect|icon)", text)
        assert loaded, name
        assert not [one for one in loaded if re.match(r"(https?:)?//", one)], name


@pytest.mark.parametrize("document", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_links_into_the_documents_lead_somewhere(document: Path) -> None:
    """mkdocs sees to those within docs/."""
    for target in re.findall(r"\]\(([^)#\s]+)", document.read_text()):
        assert target.startswith("https://") or (ROOT / target).exists(), f"{document.name}: {target}"


def test_every_document_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    for path in (ROOT / "docs").glob("*.md"):
        assert re.search(rf"\b{path.name}\b", text.partition("nav:")[2]), path.name
