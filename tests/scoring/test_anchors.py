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
from harness.scoring.lesions import ALL, HOTELLING, lesion_table, less_input
from harness.scoring.scans import RANDOM, scan_table
from harness.submission.manifest import load_submission
from tests.scoring.further_set import anatomy, grey, inputs, make_set


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


def test_further_slices_are_made_as_the_others_where_an_anchor_has_an_image(tmp_path: Path) -> None:
    dataset = make_set(tmp_path, scans=2, patients=2)  # few enough to start no worker
    normal = tmp_path / "normal.png"
    write_grey(normal, grey(anatomy(lesions=True)))
    cases = tuple(msgspec.structs.replace(case, aligned_gt=case.truth) for case in dataset.cases)
    further = tuple(
        msgspec.structs.replace(one, aligned_gt=str(normal)) if one.kind == "lesions" else one
        for one in dataset.further
    )
    dataset = msgspec.structs.replace(dataset, cases=cases, further=further)
    purify = Purify(weak_denoiser="tv")
    made = {
        anchor.slug.removeprefix("anchor-"): make_anchor(
            anchor, dataset, purify, tmp_path / anchor.slug, weak_outputs=None
        )
        for anchor in anchors_of(dataset, purify)
        if anchor.slug != "anchor-blur-1"
    }
    own, lesions, again = ({one.name for one in dataset.shown if getattr(one, "kind", "own") == kind}
                           for kind in ("own", "lesions", "again"))  # fmt: skip
    assert {name: set(outputs) for name, outputs in made.items()} == {
        **dict.fromkeys(("input", "blur-2", "blur-4", "weak-denoiser"), own | lesions | again),
        "normal-dose": own | lesions,
        "truth": own,
    }
    found = {name: lesion_table(outputs, dataset) for name, outputs in made.items()}
    assert found["truth"] is None
    of = {name: table[less_input(HOTELLING)][ALL] for name, table in found.items() if table}
    assert of["input"].value == 0
    assert (of["normal-dose"].low or 0) > 0  # without any noise here: the lesions alone
    scans = {name: scan_table(outputs, dataset, {one.name: Path(str(one.regions)) for one in cases}, ("lung",), None)
             for name, outputs in made.items()}  # fmt: skip
    assert scans["truth"] is scans["normal-dose"] is None
    noise = [table[RANDOM]["lung"].value for name in ("input", "blur-2", "blur-4") if (table := scans[name])]
    assert noise == sorted(noise, reverse=True)
    assert len(set(noise)) == 3


def test_a_submission_as_weak_denoiser_shows_what_it_was_given(tmp_path: Path) -> None:
    dataset = make_set(tmp_path, scans=1, patients=2)
    weak = next(one for one in anchors_of(dataset, Purify()) if one.kind == "weak")
    for names in ([one.name for one in dataset.cases], [one.name for one in dataset.shown]):
        outputs = {name: path for name, path in inputs(dataset).items() if name in names}
        made = make_anchor(weak, dataset, Purify(), tmp_path / "out", weak_outputs=outputs)
        assert sorted(made) == sorted(names)


def test_no_submission_can_take_an_anchors_name(tmp_path: Path) -> None:
    (tmp_path / "anchor-truth").mkdir()
    with pytest.raises(UsageError, match="reference rows"):
        load_submission(tmp_path / "anchor-truth")
