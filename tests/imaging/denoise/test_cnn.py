"""The small network: its weights are known by their digest and its output does not hang on the order of summation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from harness.base.digests import digest_file
from harness.base.errors import InfrastructureError
from harness.imaging.denoise import cnn
from harness.imaging.noise_level import noise_level
from harness.protocol import PhantomData, load_protocol, protocol_names

WEIGHTS = Path(cnn.__file__).with_name("cnn.safetensors")


def test_the_recipe_belongs_to_the_weights() -> None:
    recipe = json.loads(WEIGHTS.with_name("cnn.json").read_text())
    assert recipe["sha256"] == cnn.SHA256 == digest_file(WEIGHTS)
    # 1*24*9 + 24 + 3 (24*24*9 + 24) + 24*9 + 1
    parameters = sum(filters.size + bias.size for filters, bias in cnn.load(WEIGHTS, sha256=cnn.SHA256))
    assert recipe["parameters"] == parameters == 16081
    protocols = [load_protocol(name).data for name in protocol_names() if name.startswith("phantom")]
    assert recipe["data"]["phantom"]["seed"] not in {data.seed for data in protocols if isinstance(data, PhantomData)}


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damaged_weights_are_refused(tmp_path: Path, damage: str) -> None:
    copy = tmp_path / "cnn.safetensors"
    if damage == "changed":
        good = bytearray(WEIGHTS.read_bytes())
        good[-1] ^= 1
        copy.write_bytes(good)
    with pytest.raises(InfrastructureError, match="SHA-256"):
        cnn.load(copy, sha256=cnn.SHA256)


def test_another_implementation_rounds_to_the_same_pixels() -> None:
    # torch sums in another order, over the whole slice instead of bands of rows
    image = np.random.default_rng(7).normal(60, 12, (75, 90)).clip(0, 255).astype(np.uint8)
    sigma = noise_level(image)
    wide = np.pad(image.astype(np.float64), cnn.MARGIN, mode="reflect") / sigma
    values = torch.from_numpy(wide)[None, None]
    weights = {name: tensor.double() for name, tensor in load_file(WEIGHTS).items()}
    for layer in range(cnn.LAYERS):
        values = torch.nn.functional.conv2d(values, weights[f"{2 * layer}.weight"], weights[f"{2 * layer}.bias"])
        if layer < cnn.LAYERS - 1:
            values = torch.relu(values)
    expected = np.clip(np.rint(image - cnn.STRENGTH * sigma * values[0, 0].numpy()), 0, 255)
    np.testing.assert_array_equal(cnn.denoise(image), expected)


def test_strength_scales_what_is_taken_away() -> None:
    image = np.random.default_rng(8).normal(100, 10, (48, 48)).clip(0, 255).astype(np.uint8)
    np.testing.assert_array_equal(cnn.denoise_by(image, strength=0), image)
    full, half = (image - cnn.denoise_by(image, strength=s).astype(float) for s in (1.0, 0.5))
    assert np.abs(half - full / 2).max() <= 0.75  # two roundings to grey levels, the full one halved
