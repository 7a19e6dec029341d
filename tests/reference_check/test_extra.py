"""The extra `audit` of pyproject.toml: what happens without it, and that nothing else needs it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPT = """
import harness.ci.verdicts, harness.doctor, harness.pipeline.evaluate
from harness import metrics
from harness.base.errors import UsageError
from harness.protocol import load_protocol
for metric in load_protocol("phantom").metrics:
    metrics.load(metric.metric)
try:
    import harness.reference_check
except UsageError as error:
    print(error.message, error.fix, sep="; ")
"""


def without(package: str, tmp_path: Path) -> Path:
    """The installed packages without one of them, as links."""
    found = find_spec(package)
    assert found is not None
    assert found.origin is not None
    installed = Path(found.origin).parent.parent
    for path in installed.iterdir():
        if not path.name.startswith(package):
            (tmp_path / path.name).symlink_to(path)
    return tmp_path


@pytest.mark.parametrize(
    ("package", "name"),
    [("torch_fidelity", "torch-fidelity"), ("efficientnet_lite_pytorch", "efficientnet_lite_pytorch")],
)
def test_only_the_audit_needs_its_extra_and_says_how_to_install_it(package: str, name: str, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-S", "-c", SCRIPT],
        cwd=root,
        env=os.environ | {"PYTHONPATH": f"{root}:{without(package, tmp_path)}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"needs the package {name}, which is not installed" in done.stdout
    assert f"; pip install {name}, or in a checkout: pip install -c constraints.txt" in done.stdout
