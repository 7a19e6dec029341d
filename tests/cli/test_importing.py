"""`harness import`: what it says and writes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.command import harness
from tests.importing.made import study


def test_the_report_on_the_screen(tmp_path: Path) -> None:
    study(tmp_path / "scans", patient="JANE", planes=2)
    (tmp_path / "scans/notes.pdf").write_bytes(b"%PDF")
    done = harness("import", "scans", "-o", "data", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for words in ("p001", "64 x 64", "one plane", "is no file of a scan that is known", "notes.pdf"):
        assert words in done.stdout
    assert "wrote 2 slice pairs of 1 patient to data; who is who: data.owner.csv" in done.stdout
    assert "JANE" not in done.stdout + done.stderr
    again = harness("import", "scans", "-o", "data", "--json", cwd=tmp_path)
    said = json.loads(again.stdout)
    assert not said["new"]
    assert said["left"] == [{"cause": "is no file of a scan that is known", "file": "notes.pdf"}]
    assert said["report"]["patients"][0]["slices"] == 2


def test_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    study(tmp_path / "scans", low="A", normal="B")
    done = harness("import", "scans", "-o", "data", cwd=tmp_path)
    assert done.returncode == 2
    assert "no patient has a low-dose and a normal-dose series" in done.stderr
    assert "--low PATTERN" in done.stderr
    assert not (tmp_path / "data").exists()
    assert harness("import", "nowhere", "-o", "data", cwd=tmp_path).returncode == 2
