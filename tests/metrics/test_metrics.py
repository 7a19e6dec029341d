import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness import metrics
from harness.base.errors import UsageError
from harness.imaging.regions import shrink


def test_registry_is_the_folder() -> None:
    files = Path(metrics.__file__).parent.glob("[!_]*.py")
    assert metrics.names() == sorted(path.stem for path in files)
    assert {"frechet", "kernel", "rmse", "ssim"} <= set(metrics.names())


@pytest.mark.parametrize("name", metrics.names())
def test_every_metric_keeps_the_contract(name: str) -> None:
    module = metrics.load(name)
    assert module.HIGHER_IS_BETTER in (True, False, None)
    function = {"distribution": "distance", "image": "value"}[module.KIND]
    assert callable(getattr(module, function))
    assert module.__doc__
    assert "own code" in module.IMPLEMENTATION or "torchmetrics" in module.IMPLEMENTATION
    assert "\n" not in module.IMPLEMENTATION
    if module.KIND == "image":
        assert module.UNIT in ("grey", "1/mm", "")
        regions = shrink(np.zeros((4, 4), np.uint8))
        assert module.REGIONS is None or set(module.REGIONS) <= set(regions)
        if module.HIGHER_IS_BETTER is None:
            assert "ideal" in module.__doc__


@pytest.mark.parametrize("name", ["fid", "_images", "..errors", ""])
def test_unknown_name_lists_the_known(name: str) -> None:
    with pytest.raises(UsageError, match=r"there are: bias, frechet,"):
        metrics.load(name)


def test_registry_imports_no_metric() -> None:
    code = "import sys, harness.metrics; sys.exit(any(m in sys.modules for m in ('torch', 'skimage', 'scipy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
