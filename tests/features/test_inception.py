from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness import features
from harness.base.digests import digest_file
from harness.base.slices import read_grey
from harness.features import weights
from harness.features._inception_network import GRID, build
from harness.features._preprocess import inception_input
from harness.features.inception import TorchScriptInception
from harness.metrics import frechet, kernel

Slices = Callable[[str], list[Path]]

# PyTorch deprecates TorchScript, in which one of the files is published; clean-fid uses torchvision's old arguments.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*weights.*:UserWarning")


def load_pinned(path: Path, pin: Callable[..., None]) -> features.Extractor:
    pin("inception", path)
    return features.load("inception")


def test_state_dict_of_the_published_format(
    state_dict_file: Path, pin: Callable[..., None], random_inception: features.Extractor, slices: Slices
) -> None:
    extractor = load_pinned(state_dict_file, pin)
    assert extractor.name == "inception"
    assert extractor.digest == digest_file(state_dict_file)
    assert (extractor.dimension, extractor.grid) == (2048, GRID)
    assert "pt_inception-2015-12-05-6726825d.pth" in extractor.describe()
    images = [read_grey(path) for path in slices("noisy")[:2]]
    ours, random = extractor(images), random_inception(images)
    assert ours.features.shape == (2, 2048)
    # the file holds the random extractor's weights
    np.testing.assert_array_equal(ours.features, random.features)


def test_torchscript_of_the_published_format(
    torchscript_file: Path, pin: Callable[..., None], random_inception: features.Extractor, slices: Slices
) -> None:
    extractor = load_pinned(torchscript_file, pin)
    assert extractor.digest == digest_file(torchscript_file)
    assert extractor.grid == GRID
    images = [read_grey(path) for path in slices("noisy")[:3]]
    ours, random = extractor(images), random_inception(images)
    np.testing.assert_allclose(ours.features, random.features, rtol=1e-4, atol=1e-6)
    assert ours.maps is not None
    assert random.maps is not None
    np.testing.assert_allclose(ours.maps, random.maps, rtol=1e-3, atol=1e-5)


def test_torchscript_that_is_no_chain_has_no_maps(tmp_path: Path) -> None:
    class Tangled(nn.Module):
        """Its children in order are not what it computes."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2048, 1)
            self.pool1 = nn.AdaptiveAvgPool2d(1)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = 2 * self.conv(self.pool1(x))
            return y

    class Archive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = Tangled()

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.layers(x)
            return y

    path = tmp_path / "tangled.pt"
    torch.jit.trace(Archive(), torch.zeros(1, 3, 299, 299)).save(path)  # type: ignore[no-untyped-call]
    network = TorchScriptInception(path, torch.device("cpu"))
    assert not network.has_maps
    with torch.inference_mode():
        given, maps = network(torch.ones(2, 3, 299, 299))
    assert given.shape == (2, 2048)
    assert maps is None


def test_network_is_pytorch_fids(
    monkeypatch: pytest.MonkeyPatch, published_state: dict[str, Tensor], slices: Slices
) -> None:
    import cleanfid.inception_pytorch

    monkeypatch.setattr(cleanfid.inception_pytorch, "load_state_dict_from_url", lambda *_, **__: published_state)
    theirs = cleanfid.inception_pytorch.InceptionV3([1, 3], resize_input=False, normalize_input=False).eval()
    x = torch.from_numpy(np.stack([inception_input(read_grey(path)) for path in slices("noisy")[:2]]))
    x = (x[:, None].expand(-1, 3, -1, -1) - 128) / 128
    with torch.inference_mode():
        expected_maps, expected = theirs(x.contiguous())
        found, maps = build(published_state)(x.contiguous())
    torch.testing.assert_close(found, expected[:, :, 0, 0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(maps, expected_maps, rtol=1e-4, atol=1e-5)


def test_network_is_torch_fidelitys(published_state: dict[str, Tensor], state_dict_file: Path) -> None:
    from torch_fidelity import FeatureExtractorInceptionV3

    theirs = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(state_dict_file)
    )
    x = torch.randint(0, 256, (2, 3, 299, 299), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.inference_mode():
        (expected,) = theirs(x)
        found, _ = build(published_state)((x.float() - 128) / 128)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("change", ["missing", "superfluous", "shape"])
def test_other_state_dicts_are_refused(published_state: dict[str, Tensor], change: str) -> None:
    state = dict(published_state)
    if change == "missing":
        del state["Mixed_7c.branch_pool.bn.bias"]
    elif change == "superfluous":
        state["Mixed_8a.conv.weight"] = torch.zeros(1)
    else:
        state["Conv2d_1a_3x3.conv.weight"] = torch.zeros(32, 1, 3, 3)
    with pytest.raises(RuntimeError, match=r"Mixed_7c\.branch_pool\.bn\.bias|Mixed_8a|Conv2d_1a_3x3"):
        build(state)


def test_scores_from_images_are_clean_fids(
    torchscript_file: Path,
    state_dict_file: Path,
    pin: Callable[..., None],
    slices: Slices,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """clean-fid's own reading, resizing, network file and estimators against one pass of ours."""
    from cleanfid import fid, inception_torchscript

    monkeypatch.setattr(inception_torchscript, "check_download_inception", lambda **_: None)
    network = inception_torchscript.InceptionV3W(str(torchscript_file.parent), download=False).eval()
    clean_fid = {
        kind: fid.get_files_features(
            [str(path) for path in slices(kind)],
            model=network,
            num_workers=0,
            batch_size=3,
            device=torch.device("cpu"),
            mode="clean",
            verbose=False,
        )
        for kind in ("noisy", "clean")
    }
    pin("inception", state_dict_file)
    extractor = features.load("inception")
    ours = {
        kind: features.extract(slices(kind), [extractor], regions=None)["inception"]["whole"].values
        for kind in ("noisy", "clean")
    }
    for kind in ours:
        np.testing.assert_allclose(ours[kind], clean_fid[kind], rtol=1e-4, atol=1e-6)
    kid = fid.kernel_distance(clean_fid["noisy"].astype(np.float64), clean_fid["clean"].astype(np.float64))
    assert kernel.distance(ours["noisy"], ours["clean"]) == pytest.approx(kid, rel=1e-4)
    # clean-fid's matrix root takes half a minute at 2048 dimensions; its distance itself is compared in test_frechet
    assert frechet.distance(ours["noisy"], ours["clean"]) == pytest.approx(
        frechet.distance(clean_fid["noisy"], clean_fid["clean"]), rel=1e-4
    )


def test_single_channel_resize_is_clean_fids(slices: Slices) -> None:
    from cleanfid.resize import build_resizer

    for path in slices("noisy"):
        grey = read_grey(path)
        expected = build_resizer("clean")(np.stack([grey] * 3, axis=2))
        assert expected.shape == (299, 299, 3)
        for channel in range(3):
            np.testing.assert_array_equal(inception_input(grey), expected[..., channel])


def test_known_files_are_the_published_ones() -> None:
    # The eight hexadecimal digits in a file name begin its SHA-256 (torch.hub's convention).
    for file in weights.known("inception"):
        if "6726825d" in file.name:
            assert file.sha256.startswith("6726825d")
    assert [file.name for file in weights.known("inception")] == [
        "pt_inception-2015-12-05-6726825d.pth",
        "weights-inception-2015-12-05-6726825d.pth",
        "inception-2015-12-05.pt",
    ]
