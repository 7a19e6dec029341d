"""FID, KID and CLIP-FID are the reference tools': from images, through published formats, by their own networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cleanfid.fid import kernel_distance

from harness import features as extractors
from harness.base.errors import UsageError
from harness.base.slices import write_grey
from harness.metrics import frechet, kernel
from harness.reference_check import reference_tools
from tests.published_files import FORMAT_WARNINGS, archive, pin, published_state, state_dict_file, torchscript_file

__all__ = ["archive", "pin", "published_state", "state_dict_file", "torchscript_file"]

pytestmark = [FORMAT_WARNINGS, pytest.mark.filterwarnings("ignore:.*weights.*:UserWarning")]
Folder = list[Path]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, Folder]:
    """Two sets of six slices of another noise and another size than the networks'."""
    folder = tmp_path_factory.mktemp("slices")
    sets: list[Folder] = []
    for seed, spread in ((0, 12), (1, 30)):
        rng = np.random.default_rng(seed)
        sets.append([folder / f"{seed}-{index}.png" for index in range(6)])
        for path in sets[-1]:
            coarse = rng.integers(0, 160, size=(6, 6)).repeat(16, axis=0).repeat(16, axis=1)
            write_grey(path, np.clip(coarse + rng.normal(40, spread, size=(96, 96)), 0, 255).astype(np.uint8))
    return sets[0], sets[1]


def both(name: str, folders: tuple[Folder, Folder]) -> tuple[list[reference_tools.Rows], list[reference_tools.Rows]]:
    """Features of either folder, the harness's and the reference tools'."""
    extractor, model = extractors.load(name), reference_tools.network(name)
    ours = [extractors.extract(paths, [extractor], regions=None)[name]["whole"].values for paths in folders]
    theirs = [reference_tools.features(paths, model, workers=0) for paths in folders]
    return [rows.astype(np.float64) for rows in ours], theirs


@pytest.mark.parametrize("name", ["inception-random", "clip-random", "efficientnet-lite0"])
def test_scores_from_images_are_the_reference_tools(name: str, folders: tuple[Folder, Folder]) -> None:
    """clean-fid's reading, resizing, batching and estimators around the networks of torch-fidelity, open_clip and
    efficientnet_lite_pytorch."""
    ours, theirs = both(name, folders)
    for tool in ("clean-fid", "torchmetrics"):
        assert kernel.distance(*ours) == pytest.approx(reference_tools.DISTANCES["kernel"][tool](*theirs), rel=1e-4)
        # Their matrix roots take half a minute at 2048 dimensions: in 20 dimensions that all features take part in,
        # not a choice of columns
        turn = np.linalg.qr(np.random.default_rng(2).normal(size=(theirs[0].shape[1], 20))).Q
        distance = reference_tools.DISTANCES["frechet"][tool](*(rows @ turn for rows in theirs))
        assert frechet.distance(*(rows @ turn for rows in ours)) == pytest.approx(distance, rel=1e-4)
    np.random.seed(5)
    subsets = kernel_distance(*theirs, num_subsets=9, max_subset_size=4)
    assert kernel.subsets(*ours, seed=5, subsets=9, size=4) == pytest.approx(subsets, rel=1e-4)


def test_clip_fid_in_all_its_dimensions(folders: tuple[Folder, Folder]) -> None:
    ours, theirs = both("clip-random", folders)
    for distance in reference_tools.DISTANCES["frechet"].values():
        assert frechet.distance(*ours) == pytest.approx(distance(*theirs), rel=1e-4)


@pytest.mark.parametrize(
    ("extractor", "file"), [("inception", "state_dict_file"), ("inception", "torchscript_file"), ("clip", "archive")]
)
def test_published_formats_through_the_tools_own_loaders(
    extractor: str,
    file: str,
    pin: Callable[..., None],
    folders: tuple[Folder, Folder],
    request: pytest.FixtureRequest,
) -> None:
    pin(extractor, request.getfixturevalue(file))
    ours, theirs = both(extractor, folders)
    for own, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-3, atol=1e-5 * np.abs(other).max())
    assert kernel.distance(*ours) == pytest.approx(
        reference_tools.DISTANCES["kernel"]["torchmetrics"](*theirs), rel=1e-4
    )


def test_a_network_without_its_weights_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match="inception") as caught:
        reference_tools.network("inception")
    assert "harness weights" in caught.value.fix


def test_clean_fids_random_subsets_are_no_reference() -> None:
    rows = np.random.default_rng(0).normal(size=(4, 3))
    assert reference_tools.DISTANCES["kernel"]["clean-fid"](rows, rows[:3]) is None
    assert reference_tools.DISTANCES["kernel"]["clean-fid"](rows, rows) is not None
