"""Official test sets with lesions and more low-dose scans: exported, imported, checked; what was changed is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from harness.base.digests import digest_file
from harness.base.errors import UsageError
from harness.base.progress import Quiet
from harness.base.slices import read_grey, write_grey
from harness.base.structs import canonical_json, read_json
from harness.dataset.from_phantom import phantom_slices
from harness.dataset.load import load_data
from harness.dataset.official import Imported, differing_images, find_imported, measured
from harness.imaging.lesion import Site
from harness.pipeline.official_file import import_set
from harness.pipeline.official_set import check_here
from harness.protocol import OfficialSet, OfficialSlice, PhantomData
from tests.official_world import World, make_world
from tests.pipeline.test_official_file import members_of, place, plain, written

MORE = ", realisations: 3, lesions: {conditions: [{diameter_mm: 4, contrast_hu: 300}], sites: 4}"
MEMBERS = ["lq", "gt", "truth", "aligned_gt", "regions", "lesions", "lesions_gt"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("official"), MORE)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def official_cache(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache of the machine that made the official bytes."""
    monkeypatch.setenv("HARNESS_CACHE", str(world.folder / "official"))


def official_of(world: World) -> OfficialSet:
    assert world.protocol.official_labels is not None
    return world.protocol.official_labels


@pytest.mark.usefixtures("official_cache")
def test_the_digests_name_every_further_image_and_no_site(world: World) -> None:
    dataset = load_data(world.protocol)
    assert dataset.notes == ()
    for one in official_of(world).slices:
        more = {kind: digest for kind, digest in dataset.pixels[one.name].items() if kind not in MEMBERS[:5]}
        assert one.further == more
        assert dataset.sites[one.name]
    assert [len(one.further) for one in official_of(world).slices] == [2, 4]
    assert "row" not in world.digests.read_text()  # they would help to cheat on a secret set before it is disclosed


@pytest.mark.usefixtures("cache")
def test_what_was_exported_is_imported_with_sites(world: World) -> None:
    own = phantom_slices(data_of(world), None)
    folder = import_set(world.protocol, world.tar)
    names = [info.name for info, _ in members_of(world.tar)]
    first = [f"{kind}/p01-s01.png" for kind in (*MEMBERS, "labels")]
    second = [f"{kind}/p01-s02.png" for kind in (*MEMBERS, "again-1", "again-2", "labels")]
    assert names == ["slices.json", *first, "sites/p01-s01.json", *second, "sites/p01-s02.json"]
    taken = load_data(world.protocol)
    assert msgspec.structs.replace(taken, cases=own.cases, further=own.further, notes=()) == own
    assert {Path(one.lq).parents[1] for one in taken.shown} == {folder}
    assert taken.sites == own.sites
    assert check_here(world.protocol, Quiet(), leaderboard=world.folder) == {}


def data_of(world: World) -> PhantomData:
    assert isinstance(world.protocol.data, PhantomData)
    return world.protocol.data


@pytest.mark.usefixtures("cache")
def test_an_imported_set_whose_sites_were_changed_since_is_not_used(world: World) -> None:
    folder = import_set(world.protocol, world.tar)
    path = folder / "sites" / "p01-s02.json"
    sites = read_json(path, list[Site])
    path.write_bytes(canonical_json(sites[::-1]))
    assert find_imported(official_of(world)) == Imported(folder=str(folder), damaged=("p01-s02",))
    (note,) = load_data(world.protocol).notes
    assert "is damaged (p01-s02), and not used" in note
    before = digest_file(path)
    assert import_set(world.protocol, world.tar) == folder
    assert digest_file(path) != before
    assert read_json(path, list[Site]) == sites


@pytest.mark.usefixtures("cache")
def test_another_further_image_is_named_with_its_grey_levels(world: World) -> None:
    import_set(world.protocol, world.tar)
    own = phantom_slices(data_of(world), None)
    slices, shown = official_of(world).slices, Path(own.files()["p01-s02"]["again-2"])
    other = msgspec.structs.replace(slices[1], further=slices[1].further | {"again-2": "0" * 64})
    assert differing_images(own, replaced(world, other)) == {"p01-s02": ["again-2"]}
    fewer = msgspec.structs.replace(slices[1], further={})
    assert differing_images(own, replaced(world, fewer)) == {
        "p01-s02": ["lesions", "lesions_gt", "again-1", "again-2"],
    }
    # a machine that makes another pixel
    image = read_grey(shown)
    image[48, 48] ^= 4
    write_grey(shown, image)
    pixels = own.pixels | {"p01-s02": own.pixels["p01-s02"] | {"again-2": "1" * 64}}
    found = measured(msgspec.structs.replace(own, pixels=pixels), official_of(world), find_imported(official_of(world)))
    assert found == {"p01-s02": {"again-2": 4}}


@pytest.mark.usefixtures("official_cache")
def test_other_sites_are_named(world: World) -> None:
    """The images of a slice are the official ones, and its digest is not: nothing else is left."""
    dataset = load_data(world.protocol)
    other = msgspec.structs.replace(dataset, slices=dataset.slices | {"p01-s01": "0" * 64})
    assert differing_images(other, official_of(world)) == {"p01-s01": ["sites"]}


def replaced(world: World, one: OfficialSlice) -> OfficialSet:
    official = official_of(world)
    slices = tuple(one if other.name == one.name else other for other in official.slices)
    return msgspec.structs.replace(official, slices=slices)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b'[{"column":9,"condition":0,"row":9}]',
            r"p01-s01: its images and sites/p01-s01\.json are not official together",
        ),
        (b"[]", r"p01-s01: its images and sites/p01-s01\.json are not official together"),
        (b'[{"row": 1, "column": 2, "condition": 0, "more": 1}]', "contains unknown field `more`"),
        (b"{\xff", r"sites/p01-s01\.json: "),
        (b" " * (2 << 20), r"sites/p01-s01\.json: expected at most 1048576 bytes, found 2097152"),
    ],
    ids=["moved", "none", "unknown key", "no JSON", "too many"],
)
def test_sites_that_are_not_the_official_ones_bring_nothing(
    world: World, cache: Path, tmp_path: Path, content: bytes, said: str
) -> None:
    members = members_of(world.tar)
    index = place(members, "sites/p01-s01.json")
    members[index] = plain("sites/p01-s01.json", content)
    with pytest.raises(UsageError, match=said):
        import_set(world.protocol, written(tmp_path / "x.tar", members))
    assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.usefixtures("cache")
def test_a_further_image_that_is_not_the_official_one_brings_nothing(world: World, tmp_path: Path) -> None:
    members = members_of(world.tar)
    one, other = (place(members, f"{kind}/p01-s02.png") for kind in ("again-1", "again-2"))
    members[one] = plain("again-1/p01-s02.png", members[other][1])
    with pytest.raises(UsageError, match=r"again-1/p01-s02\.png: expected pixels with the digest"):
        import_set(world.protocol, written(tmp_path / "x.tar", members))


@pytest.mark.usefixtures("cache")
def test_digests_without_the_further_images_are_refused(world: World, tmp_path: Path) -> None:
    fewer = msgspec.structs.replace(official_of(world).slices[0], further={})
    protocol = msgspec.structs.replace(world.protocol, official=replaced(world, fewer))
    with pytest.raises(UsageError, match="expected all digests of the 2 slices"):
        import_set(protocol, world.tar)
    shutil.copy(world.tar, tmp_path / "still.tar")
    assert import_set(world.protocol, tmp_path / "still.tar").is_dir()
