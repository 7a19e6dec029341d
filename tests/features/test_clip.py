import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from harness import features
from harness.base.digests import digest_file
from harness.base.slices import read_grey
from harness.features._preprocess import clip_input
from tests.published_files import FORMAT_WARNINGS

pytestmark = FORMAT_WARNINGS


def test_published_format_gives_open_clips_features(
    archive: Path, pin: Callable[..., None], slices: Callable[[str], list[Path]]
) -> None:
    pin("clip", archive)
    extractor = features.load("clip")
    assert extractor.digest == digest_file(archive)
    assert (extractor.dimension, extractor.grid) == (512, None)
    images = [read_grey(path) for path in slices("noisy")[:2]]
    found = extractor(images)
    assert found.maps is None

    model = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None).eval()
    state = torch.jit.load(archive).float().state_dict()  # type: ignore[no-untyped-call]
    visual = {key.removeprefix("visual."): value for key, value in state.items() if key.startswith("visual.")}
    model.visual.load_state_dict(visual)
    normalise = open_clip.image_transform(224, is_train=False).transforms[-1]
    x = torch.stack([torch.from_numpy(np.stack([clip_input(image)] * 3)).float() / 255 for image in images])
    with torch.inference_mode():
        expected = model.encode_image(normalise(x)).numpy()
    np.testing.assert_allclose(found.features, expected, rtol=1e-3, atol=1e-4)
    assert np.linalg.norm(found.features[0]) > 2  # not normalised to length 1


def test_preprocessing_is_clean_fids(monkeypatch: pytest.MonkeyPatch, slices: Callable[[str], list[Path]]) -> None:
    # the module imports a package that clean-fid does not declare and its preprocessing does not use
    monkeypatch.setitem(sys.modules, "clip", types.ModuleType("clip"))
    from cleanfid.clip_features import img_preprocess_clip

    for path in slices("noisy"):
        grey = read_grey(path)
        expected = img_preprocess_clip(np.stack([grey] * 3, axis=2))
        assert expected.shape == (224, 224, 3)
        for channel in range(3):
            np.testing.assert_array_equal(clip_input(grey), expected[..., channel])


@pytest.mark.parametrize("shape", [(512, 512), (224, 224), (300, 224), (225, 512)])
def test_preprocessing_of_other_sizes(shape: tuple[int, int]) -> None:
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    from PIL import Image

    theirs = Compose([Resize(224, interpolation=InterpolationMode.BICUBIC), CenterCrop(224)])
    np.testing.assert_array_equal(clip_input(image), np.asarray(theirs(Image.fromarray(image))))
