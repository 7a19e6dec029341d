"""The digests of official test sets: those that come with the harness, and those of an organiser's own slices."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.base.digests import digest_pixels
from harness.base.errors import UsageError
from harness.base.progress import Quiet
from harness.base.slices import read_grey, write_grey
from harness.dataset.cases import KINDS
from harness.dataset.from_phantom import slice_digest
from harness.dataset.official import grey_levels, images_of, stated_dataset
from harness.labels.label_set import labels_digest
from harness.phantom import levels_with_nodules, make_patient, scan_slice
from harness.pipeline.official_set import as_text, check_here, write_digests
from harness.pipeline.prepare import prepare_labels
from harness.protocol import PhantomData, Protocol, load_protocol, official_file, protocol_names, protocol_path

GOLDEN = Path(__file__).parents[1] / "golden"
SLICES = ("small_leaky_wall", "small_normal")
EMBEDDED = ["phantom", "phantom-fov", "phantom-hu", "phantom-mini"]


# ------------------------------------------------------------------------------------------------ as committed
def test_every_embedded_protocol_has_the_digests_of_its_version_and_no_other() -> None:
    folder = protocol_path("phantom").parent
    wanted = {f"{load_protocol(name).identity}.slices.json" for name in EMBEDDED}
    assert {path.name for path in folder.glob("*.json")} == wanted
    tests = [one for one in map(load_protocol, protocol_names()) if one.use == "test"]
    assert [one.name for one in tests if isinstance(one.data, PhantomData)] == EMBEDDED


@pytest.mark.parametrize("name", EMBEDDED)
def test_committed_digests_follow_from_each_other_and_belong_to_the_protocol(name: str) -> None:
    protocol = load_protocol(name)
    official, data = protocol.official_labels, protocol.data
    assert official is not None
    assert isinstance(data, PhantomData)
    assert len(official.slices) == data.patients * data.slices
    assert stated_dataset(official, data, Path()).digest == official.data
    assert labels_digest({one.name: (one.label, None) for one in official.slices}) == official.labels
    every = [digest for one in official.slices for digest in (*images_of(one).values(), one.label)]
    further = sum(len(one.further) for one in official.slices)
    assert len(set(every)) == len(every) == 6 * len(official.slices) + further
    file = official_file(protocol_path(name), protocol)
    assert file.read_text() == as_text(official)
    assert file.stat().st_size < 700 * (len(official.slices) + 1) + 100 * further


def test_a_slice_of_phantom_mini_is_still_the_committed_one() -> None:
    """If this fails the phantom's code changed its bytes: that is a new version of every protocol on it."""
    protocol = load_protocol("phantom-mini")
    official, data = protocol.official_data, protocol.data
    assert official is not None
    assert isinstance(data, PhantomData)
    assert isinstance(data.seed, int)
    patient = make_patient(data.seed, 0)
    height = levels_with_nodules(patient, data.slices, nodule_slices=data.nodule_slices)[0]
    scanned = scan_slice(patient, height, size=data.size, dose=data.dose)
    images = {kind: getattr(scanned, kind) for kind in KINDS}
    assert {kind: digest_pixels(image) for kind, image in images.items()} == images_of(official.slices[0])
    assert slice_digest(images, ()) == official.slices[0].images


def test_a_changed_protocol_has_no_official_bytes() -> None:
    protocol = load_protocol("phantom-mini")
    assert isinstance(protocol.data, PhantomData)
    other_data = msgspec.structs.replace(protocol, data=msgspec.structs.replace(protocol.data, seed=1))
    assert (other_data.official_data, other_data.official_labels) == (None, None)
    purify = msgspec.structs.replace(protocol.purify, weak_denoiser="tv")
    other_labels = msgspec.structs.replace(protocol, purify=purify)
    assert other_labels.official_data == protocol.official
    assert other_labels.official_labels is None


def test_the_digests_do_not_change_what_the_protocol_is() -> None:
    for name in EMBEDDED:
        assert load_protocol(name).digest == load_protocol(name, official=False).digest


def test_a_protocol_cannot_bring_its_digests_along(tmp_path: Path) -> None:
    official = msgspec.json.encode(load_protocol("phantom-mini").official).decode()
    (tmp_path / "mine.yaml").write_text(protocol_path("phantom-mini").read_text() + f"official: {official}\n")
    with pytest.raises(UsageError, match=r"mine\.yaml: unknown key official"):
        load_protocol(str(tmp_path / "mine.yaml"))


# ------------------------------------------------------------------------------------------------ an organiser's slices
@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A protocol on slices in a folder, with digests beside it."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MY_SLICES", str(tmp_path / "slices"))
    for kind in ("lq", "gt"):
        (tmp_path / "slices" / kind).mkdir(parents=True)
        for name in SLICES:
            shutil.copy(GOLDEN / name / f"{kind}.png", tmp_path / "slices" / kind / f"{name}.png")
    path = tmp_path / "mine.yaml"
    path.write_text(
        "{schema: 1, name: mine, version: 2, title: Mine, metrics: [{name: RMSE, metric: rmse}], "
        'rank_by: {metric: RMSE}, purify: {weak_denoiser: tv}, data: {source: folder, path: "${MY_SLICES}"}}'
    )
    file, new = write_digests(load_protocol(str(path)), path, Quiet(), leaderboard=tmp_path)
    assert new
    assert file == tmp_path / "mine-2.slices.json"
    return path


def checked(path: Path) -> dict[str, dict[str, int | None]]:
    found = check_here(load_protocol(str(path)), Quiet(), leaderboard=path.parent)
    return {name: dict(kinds) for name, kinds in found.items()}


def said(protocol: Protocol, folder: Path) -> list[str]:
    reporter = Quiet()
    prepare_labels(protocol, reporter, leaderboard=folder)
    return [note for note in reporter.notes if "official" in note]


def test_slices_of_ones_own_are_compared_too(mine: Path) -> None:
    protocol = load_protocol(str(mine))
    assert checked(mine) == {}
    assert said(protocol, mine.parent) == []
    image = mine.parent / "slices" / "gt" / "small_normal.png"
    pixels = read_grey(image)
    pixels[5, 5] ^= 1
    write_grey(image, pixels)
    assert checked(mine) == {"small_normal": {"gt": None}}
    (note,) = said(protocol, mine.parent)
    assert note.startswith("1 of 2 slices differ from the official test set of mine-2")
    assert "small_normal: gt" in note
    assert "fix: compare your files of these slices" in note
    (image.parent.parent / "gt" / "small_leaky_wall.png").unlink()
    (image.parent.parent / "lq" / "small_leaky_wall.png").unlink()
    write_grey(image.parent.parent / "lq" / "more.png", read_grey(GOLDEN / "small_normal" / "lq.png") // 2 * 2)
    shutil.copy(GOLDEN / "small_normal" / "gt.png", image.parent.parent / "gt" / "more.png")
    assert checked(mine) == {
        "more": {"not official": None},
        "small_leaky_wall": {"missing": None},
        "small_normal": {"gt": None},
    }


def test_digests_whose_parts_do_not_fit_are_told(mine: Path) -> None:
    file = mine.parent / "mine-2.slices.json"
    official = load_protocol(str(mine)).official
    assert official is not None
    file.write_text(as_text(msgspec.structs.replace(official, data="0" * 64)))
    with pytest.raises(UsageError, match="no slice differs") as caught:
        checked(mine)
    assert "restore mine-2.slices.json" in caught.value.fix
    (note,) = said(load_protocol(str(mine)), mine.parent)
    assert note.startswith("no slice differs from the official test set of mine-2, but the slices as a whole do")


def test_grey_levels_are_the_largest_difference(tmp_path: Path) -> None:
    for name, level in (("a", 10), ("b", 250)):
        write_grey(tmp_path / f"{name}.png", np.full((3, 3), level, np.uint8))
    write_grey(tmp_path / "wide.png", np.zeros((3, 4), np.uint8))
    pair = tmp_path / "a.png", tmp_path / "b.png"
    assert grey_levels([pair, (pair[0], pair[0])]) == grey_levels([pair[::-1]]) == 240
    assert grey_levels([(pair[0], tmp_path / "wide.png")]) is None
    assert grey_levels([]) is None
