from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from harness.features import Features
from harness.scoring.feature_sets import npz_of, read_features


def test_features_survive_their_file(tmp_path: Path) -> None:
    found = Features(np.ones((2, 3), np.float32), np.arange(2))
    (tmp_path / "features.npz").write_bytes(npz_of({"inception": {"whole": found}}))
    read = read_features(tmp_path / "features.npz")
    assert read is not None
    np.testing.assert_array_equal(read["inception"]["whole"].values, found.values)


def test_a_file_that_unpacks_to_more_than_features_is_none(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/whole.npy", bytes(1000))
    data = path.read_bytes()
    at = data.rindex(b"PK\x01\x02") + 24  # the stated size in the directory
    path.write_bytes(data[:at] + (2**31 + 1).to_bytes(4, "little") + data[at + 4 :])
    assert read_features(path) is None
    (tmp_path / "text.npz").write_text("text")
    assert read_features(tmp_path / "text.npz") is None
    assert read_features(tmp_path / "nothing.npz") is None
