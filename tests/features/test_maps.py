import numpy as np
import pytest

from harness.features import _efficientnet_network, _inception_network
from harness.features._maps import region_weights

INCEPTION, LITE = _inception_network.GRID, _efficientnet_network.GRID


def test_everything_and_nothing() -> None:
    np.testing.assert_allclose(region_weights(np.ones((512, 512), bool), INCEPTION), 1.0, rtol=1e-6)
    assert not region_weights(np.zeros((512, 512), bool), INCEPTION).any()
    assert not region_weights(np.zeros((512, 512), bool), LITE).any()


def test_cells_of_efficientnet_tile_the_image() -> None:
    mask = np.zeros((512, 512), bool)
    mask[504:, 8:20] = True
    weights = region_weights(mask, LITE)
    assert weights[63, :4].tolist() == [0, 1, 0.5, 0]
    assert weights.sum() * 64 == mask.sum()
    np.testing.assert_allclose(region_weights(np.ones((300, 512), bool), LITE), 1.0, rtol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(128, 128), (299, 299), (512, 512), (300, 512)])
def test_weights_are_covered_area(height: int, width: int) -> None:
    mask = np.zeros((height, width), bool)
    mask[round(0.2 * height) : round(0.8 * height), round(0.3 * width) : round(0.5 * width)] = True
    weights = region_weights(mask, INCEPTION)
    assert weights.min() >= 0
    assert weights.max() <= 1 + 1e-6
    # the region's area in pixels of 299 x 299, in cells of 8 x 8
    assert weights.sum() == pytest.approx(mask.sum() * (299 / height) * (299 / width) / 64, rel=1e-5)
    assert region_weights(mask, LITE).sum() == pytest.approx(mask.sum() * (512 / height) * (512 / width) / 64, rel=1e-5)


def test_cells_lie_where_their_receptive_fields_are() -> None:
    mask = np.zeros((299, 299), bool)
    mask[9 + 8 * 3 : 9 + 8 * 4, 9 + 8 * 20 : 9 + 8 * 21] = True
    weights = region_weights(mask, INCEPTION)
    assert weights[3, 20] == pytest.approx(1)
    assert weights.sum() == pytest.approx(1)
