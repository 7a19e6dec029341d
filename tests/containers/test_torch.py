"""A PyTorch submission in its container, on the image with PyTorch, gives what its network gives here."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from benchmarks.train import load_trained
from harness.base.errors import InfrastructureError
from harness.base.slices import read_grey
from harness.engines import Engine
from harness.run import container_image as image
from harness.run.execute import run_submission
from harness.submission.manifest import load_submission
from tests.conftest import build_base
from tests.containers.cases import LIMITS
from tests.containers.world import make_dataset

pytestmark = pytest.mark.engine
FLOW = Path(__file__).resolve().parents[2] / "submissions" / "flow"


def test_the_container_gives_what_its_network_gives(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_base("docker", "--torch")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    dataset = make_dataset(tmp_path / "data")
    # torch takes its time to be read from a busy disk, and in 0.2 GB it is read again and again
    limits = msgspec.structs.replace(LIMITS, wall_s=600, memory_gb=2)
    run = run_submission(load_submission(FLOW), dataset, limits, seed=7, engine=engine, repeat=2)
    assert run.repeat is not None
    assert run.repeat.largest_difference == 0
    network = load_trained(FLOW)
    for case in dataset.cases:
        noisy = torch.from_numpy(read_grey(Path(case.lq)).astype(np.float32) / 255)
        with torch.inference_mode():
            expected = network.denoise(noisy[None, None])[0, 0].numpy() * 255
        found = read_grey(Path(run.outputs[case.name]))
        # rounded; another version of torch, or another number of threads, may add in another order
        assert np.abs(found - np.clip(expected, 0, 255)).max() < 0.51


def test_without_the_image_it_says_how_to_make_it(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(image, "TORCH_IMAGE", "ipv2-harness/torch:none")
    with pytest.raises(InfrastructureError, match="the engine has no image ipv2-harness/torch:none") as caught:
        run_submission(load_submission(FLOW), make_dataset(tmp_path / "data"), LIMITS, seed=7, engine=engine)
    assert "harness engine build-base --torch" in caught.value.fix
