"""Reference rows: what there is on a test set, and their order by error, which no benchmark may turn."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.base.errors import UsageError
from harness.base.slices import read_grey, write_grey
from harness.dataset.cases import Case, Dataset
from harness.dataset.load import load_data
from harness.protocol import PhantomData, Purify, load_protocol
from harness.scoring.anchors import anchors_of, make_anchor
from harness.submission.manifest import load_submission


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    protocol = msgspec.structs.replace(load_protocol("phantom-mini"), data=PhantomData(patients=1, slices=2, size=128))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        return load_data(protocol)


def test_the_phantom_has_every_anchor_and_the_truth_is_the_best(dataset: Dataset, tmp_path: Path) -> None:
    errors = {}
    for anchor in anchors_of(dataset, Purify()):
        outputs = make_anchor(anchor, dataset, Purify(), tmp_path / anchor.slug, weak_outputs=None)
        squares = [
            (read_grey(outputs[case.name]).astype(float) - read_grey(Path(str(case.truth)))) ** 2
            for case in dataset.cases
        ]
        errors[anchor.slug] = float(np.sqrt(np.mean(squares)))
    assert set(errors) == {
        "anchor-input", "anchor-blur-1", "anchor-blur-2", "anchor-blur-4", "anchor-weak-denoiser",
        "anchor-normal-dose", "anchor-truth",
    }  # fmt: skip
    assert errors["anchor-truth"] == 0
    assert (
        errors["anchor-truth"] < errors["anchor-normal-dose"] < errors["anchor-weak-denoiser"] < errors["anchor-input"]
    )


def test_real_pairs_have_those_that_need_no_truth(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (16, 16), np.uint8)
    for kind in ("lq", "gt", "weak"):
        write_grey(tmp_path / f"{kind}.png", image if kind != "weak" else image // 2)
    case = Case(name="a", patient="a", lq=str(tmp_path / "lq.png"), gt=str(tmp_path / "gt.png"))
    real = Dataset(cases=(case,), window_hu=None, digest="d")
    purify = Purify(weak_denoiser="submissions/mine")
    found = {anchor.slug: anchor for anchor in anchors_of(real, purify)}
    assert set(found) == {"anchor-input", "anchor-blur-1", "anchor-blur-2", "anchor-blur-4", "anchor-weak-denoiser"}
    weak = {"a": tmp_path / "weak.png"}
    made = make_anchor(found["anchor-weak-denoiser"], real, purify, tmp_path / "out", weak_outputs=weak)
    np.testing.assert_array_equal(read_grey(made["a"]), image // 2)
    assert "anchor-weak-denoiser" not in {anchor.slug for anchor in anchors_of(real, Purify(strategy="rb"))}


def test_no_submission_can_take_an_anchors_name(tmp_path: Path) -> None:
    (tmp_path / "anchor-truth").mkdir()
    with pytest.raises(UsageError, match="reference rows"):
        load_submission(tmp_path / "anchor-truth")
