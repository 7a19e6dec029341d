import numpy as np
import pytest

from harness.features import _random, inception_random


def test_numbers_are_pinned() -> None:
    # Frozen: records of the embedded benchmark are comparable only while these bits stay (first made 2026-11-22).
    found = _random.uniform("test", "a.weight", (2, 3), std=1.0, centring=0.5)
    assert found.dtype == np.float32
    assert _random.digest({"a.weight": found}) == "5cb89dc425c575f2efac5f41affe8eed17e4d61df04d37de30285ecaba203307"


def test_moments_and_centring() -> None:
    found = _random.uniform("test", "b", (64, 32, 3, 3), std=0.25).astype(np.float64)
    assert found.mean() == pytest.approx(0, abs=0.005)
    assert found.std() == pytest.approx(0.25, rel=0.01)
    centred = _random.uniform("test", "b", (64, 32, 3, 3), std=0.25, centring=1.0).astype(np.float64)
    np.testing.assert_allclose(centred.mean((1, 2, 3)), 0, atol=1e-8)
    np.testing.assert_allclose(centred, found - found.mean((1, 2, 3), keepdims=True), atol=1e-6)


def test_streams_differ_by_key_and_network() -> None:
    draws = [_random.uniform(*names, (8,), std=1.0) for names in (("n", "a"), ("n", "b"), ("m", "a"))]
    assert not np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_digest_sees_names_shapes_and_values() -> None:
    a = np.arange(6, dtype=np.float32)
    digests = {
        _random.digest(tensors)
        for tensors in ({"a": a}, {"b": a}, {"a": a.reshape(2, 3)}, {"a": a + 1}, {"a": a, "b": a})
    }
    assert len(digests) == 5
    assert _random.digest({"a": a, "b": 2 * a}) == _random.digest({"b": 2 * a, "a": a})


def test_inception_weights_are_pinned() -> None:
    assert (
        _random.digest(inception_random.weights()) == "dd421ac9b21367adddf3ba7fff7ecf29497c63ff09eda93abb48e06b210204b6"
    )
