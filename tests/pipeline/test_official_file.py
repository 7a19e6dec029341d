"""An official test set as one file: equal bytes from equal images, and files of strangers that must bring nothing."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.base.errors import UsageError
from harness.base.progress import Quiet
from harness.base.slices import png_bytes, read_grey
from harness.base.structs import write_json
from harness.dataset.load import load_data
from harness.dataset.official import find_imported
from harness.dataset.secret import Secret, disclosed_file
from harness.imaging.insertion import Scanner
from harness.labels.label_set import build_labels
from harness.pipeline.official_file import export_set, import_set, protocol_of, refuse_export
from harness.pipeline.official_set import digests_of, make_here
from harness.protocol import Coupled, FolderData, OfficialSet, PhantomData, Protocol, Publish
from tests.official_world import World, make_world

Members = list[tuple[tarfile.TarInfo, bytes]]
SECRET = Secret(protocol="tiny-4", secret="07" * 32)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("official"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def members_of(path: Path) -> Members:
    with tarfile.open(path) as tar:
        return [(info, tar.extractfile(info).read()) for info in tar.getmembers()]  # type: ignore[union-attr]


def written(path: Path, members: Members, kind: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=kind) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return path


def plain(name: str, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info, content


def place(members: Members, name: str) -> int:
    return [info.name for info, _ in members].index(name)


# ------------------------------------------------------------------------------------------------ what is right
def test_what_was_exported_is_imported_bit_for_bit(world: World, cache: Path) -> None:
    protocol = world.protocol
    made, labels = load_data(protocol), build_labels(load_data(protocol), protocol.purify)
    folder = import_set(protocol, world.tar)
    taken = load_data(protocol)
    assert msgspec.structs.replace(taken, cases=made.cases, notes=()) == made
    assert {Path(case.lq).parents[1] for case in taken.cases} == {folder}
    again = build_labels(taken, protocol.purify, official=protocol.official_labels)
    assert (again.digest, again.implausible, again.notes) == (labels.digest, labels.implausible, ())
    assert again.folder != labels.folder
    assert sorted(path.name for path in cache.iterdir()) == ["data", "labels", "official"]


def test_coupled_slices_are_part_of_the_official_set_and_made_anew_from_the_imported_one(
    world: World, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanner = Scanner(photons=500_000, electronic=4, kernel="sharp")
    coupled = Coupled(scanner=scanner, dose=0.02, calibrate=False)
    protocol = msgspec.structs.replace(world.protocol, coupled=coupled)
    assert protocol.official_data is None  # the digests of the set without them are those of another one
    made = make_here(protocol, Quiet(), leaderboard=tmp_path)
    protocol = msgspec.structs.replace(protocol, official=digests_of(protocol, made))
    export_set(protocol, made.dataset, made.labels, tmp_path / "coupled.tar", leaderboard=tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(cache / "elsewhere"))
    import_set(protocol, tmp_path / "coupled.tar")
    taken = load_data(protocol)
    assert (taken.digest, len(taken.further)) == (made.dataset.digest, 4)
    assert taken.notes == ("used is the imported official test set of tiny-4",)
    for one, other in zip(taken.further, made.dataset.further, strict=True):
        assert (read_grey(Path(one.lq)) == read_grey(Path(other.lq))).all()
    labels = build_labels(taken, protocol.purify, official=protocol.official_labels)
    assert (labels.digest, labels.notes) == (made.labels.digest, ())


def test_the_same_set_gives_the_same_file_wherever_it_was_made(world: World, cache: Path, tmp_path: Path) -> None:
    protocol = world.protocol
    import_set(protocol, world.tar)
    dataset = load_data(protocol)
    labels = build_labels(dataset, protocol.purify, official=protocol.official_labels)
    export_set(protocol, dataset, labels, tmp_path / "again.tar", leaderboard=tmp_path)
    assert (tmp_path / "again.tar").read_bytes() == world.tar.read_bytes()
    for info, _ in members_of(world.tar):
        assert (info.mtime, info.uid, info.gid, info.uname, info.gname) == (0, 0, 0, "", "")
    assert cache.is_dir()


def test_pngs_may_be_compressed_otherwise_and_archives_written_by_others(
    world: World, cache: Path, tmp_path: Path
) -> None:
    """The digests are of pixels: another zlib, or `tar` itself, changes nothing."""
    from PIL import Image

    members = members_of(world.tar)
    for index, (info, content) in enumerate(members[1:], start=1):
        pixels = np.asarray(Image.open(io.BytesIO(content)))
        members[index] = plain(info.name, png_bytes(pixels, compression="none"))
        members[index][0].mtime, members[index][0].uname = 1_700_000_000, "somebody"
    assert import_set(world.protocol, written(tmp_path / "other.tar", members)).is_dir()
    assert load_data(world.protocol).digest == load_data(msgspec.structs.replace(world.protocol, official=None)).digest
    assert cache.is_dir()


# ------------------------------------------------------------------------------------------------ what is hostile
def climbing(members: Members) -> None:
    members[3] = plain("../../" + members[3][0].name, members[3][1])


def absolute(members: Members) -> None:
    members[3] = plain("/tmp/" + members[3][0].name, members[3][1])


def link(members: Members) -> None:
    info = tarfile.TarInfo(members[3][0].name)
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    members[3] = info, b""


def hard_link(members: Members) -> None:
    info = tarfile.TarInfo(members[3][0].name)
    info.type, info.linkname = tarfile.LNKTYPE, members[2][0].name
    members[3] = info, b""


def twice(members: Members) -> None:
    members.insert(4, members[3])


def extra(members: Members) -> None:
    members.append(plain("more.txt", b"more"))


def missing(members: Members) -> None:
    del members[3]


def last_missing(members: Members) -> None:
    del members[-1]


def no_digests(members: Members) -> None:
    del members[0]


def not_json(members: Members) -> None:
    members[0] = plain("slices.json", b"{" * 1000)


def not_utf8(members: Members) -> None:
    members[0] = plain("slices.json", b'{"name":"\xff"}')


def of_another_version(members: Members) -> None:
    stated = msgspec.json.decode(members[0][1], type=OfficialSet)
    members[0] = plain("slices.json", msgspec.json.encode(msgspec.structs.replace(stated, version=9)))


def other_pixels(members: Members) -> None:
    index = place(members, "labels/p01-s02.png")
    members[index] = plain("labels/p01-s02.png", png_bytes(np.zeros((96, 96), np.uint8)))


def other_size(members: Members) -> None:
    members[3] = plain(members[3][0].name, png_bytes(np.zeros((96, 97), np.uint8)))


def bomb(members: Members) -> None:
    """A small file that says that it holds 60,000 x 60,000 pixels."""
    members[3] = plain(members[3][0].name, members[3][1][:16] + b"\0\0\xea\x60" * 2 + members[3][1][24:])


def no_png(members: Members) -> None:
    members[3] = plain(members[3][0].name, b"GIF89a")


def too_large(members: Members) -> None:
    members[3] = plain(members[3][0].name, members[3][1] + bytes(100_000))


def swapped(members: Members) -> None:
    """Two images of the set, each under the other's name."""
    one, other = (place(members, f"lq/p01-s0{number}.png") for number in (1, 2))
    members[one], members[other] = plain("lq/p01-s01.png", members[other][1]), plain("lq/p01-s02.png", members[one][1])


HOSTILE: dict[Callable[[Members], None], str] = {
    climbing: r"expected truth/p01-s01\.png, found '\.\./\.\./truth/p01-s01\.png'",
    absolute: r"expected truth/p01-s01\.png, found '/tmp/truth",
    link: r"expected truth/p01-s01\.png, found 'truth/p01-s01\.png' \(type b'2', no plain file\)",
    hard_link: "no plain file",
    twice: r"expected aligned_gt/p01-s01\.png, found 'truth/p01-s01\.png'",
    extra: "expected the end of the archive, found more",
    missing: r"expected truth/p01-s01\.png, found 'aligned_gt",
    last_missing: r"expected labels/p01-s02\.png, found no member",
    no_digests: r"expected slices\.json, found 'lq/p01-s01\.png'",
    not_json: r"slices\.json: JSON is malformed",
    not_utf8: r"slices\.json: 'utf-8' codec",
    of_another_version: r"slices\.json: the test set: expected tiny-4, found tiny-9",
    other_pixels: r"labels/p01-s02\.png: expected pixels with the digest [0-9a-f]{64}, found [0-9a-f]{64}",
    other_size: r"truth/p01-s01\.png: has 96 x 97 pixels \(height x width\), expected 96 x 96",
    bomb: r"truth/p01-s01\.png: is a damaged PNG",
    no_png: r"truth/p01-s01\.png: is not a PNG",
    too_large: r"truth/p01-s01\.png: expected at most \d+ bytes, found \d+",
    swapped: r"lq/p01-s01\.png: expected pixels with the digest",
}


@pytest.mark.parametrize("spoil", HOSTILE, ids=lambda spoil: spoil.__name__)
def test_a_file_that_is_not_the_official_one_brings_nothing(
    world: World, cache: Path, tmp_path: Path, spoil: Callable[[Members], None]
) -> None:
    members = members_of(world.tar)
    spoil(members)
    path = written(tmp_path / "x.tar", members)
    with pytest.raises(UsageError, match=rf"x\.tar: .*{HOSTILE[spoil]}"):
        import_set(world.protocol, path)
    official = world.protocol.official_labels
    assert official is not None
    assert find_imported(official) is None
    assert not [path for path in cache.rglob("*") if path.is_file()]
    assert {one.name for one in tmp_path.iterdir()} <= {"x.tar", "cache"}


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_extended_headers_are_refused(world: World, cache: Path, tmp_path: Path, kind: int) -> None:
    members = members_of(world.tar)
    members[3] = plain("d" * 150 + "/" + members[3][0].name, members[3][1])
    with pytest.raises(UsageError, match="no plain file"):
        import_set(world.protocol, written(tmp_path / "x.tar", members, kind))
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_negative_size_ends_the_reading(world: World, cache: Path, tmp_path: Path) -> None:
    """tarfile would go back and read the same members for ever."""
    info, content = members_of(world.tar)[0]
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 12  # base 256: -1
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "x.tar"
    path.write_bytes(bytes(header) + content)
    with pytest.raises(UsageError, match=r"slices\.json: expected at most \d+ bytes, found -1"):
        import_set(world.protocol, path)
    assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.usefixtures("cache")
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 40_000), flip=st.integers(0, 40_000))
def test_no_damage_is_overlooked(world: World, tmp_path: Path, cut: int, flip: int) -> None:
    """Truncated anywhere, or one bit changed: refused, unless the bit is padding, which says nothing."""
    good = world.tar.read_bytes()
    path = tmp_path / "x.tar"
    path.write_bytes(good[: min(cut, len(good) - 20_000)])
    with pytest.raises(UsageError):
        import_set(world.protocol, path)
    changed = bytearray(good)
    changed[flip] ^= 1
    path.write_bytes(changed)
    official = world.protocol.official_labels
    assert official is not None
    try:
        folder = import_set(world.protocol, path)
    except UsageError:
        assert find_imported(official) is None
    else:
        found = find_imported(official)
        assert found is not None
        assert found.folder == str(folder)
        assert not found.damaged
        shutil.rmtree(folder)


def test_files_that_are_no_archive_are_named(world: World, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tar")
    for name, found in (("none.tar", "nothing of that name"), ("pipe.tar", "something else"), ("", "something else")):
        with pytest.raises(UsageError, match=f"{name}: expected a plain file, found {found}"):
            import_set(world.protocol, tmp_path / name)
    (tmp_path / "text.tar").write_text("hello")
    (tmp_path / "empty.tar").touch()
    for name in ("text.tar", "empty.tar"):
        with pytest.raises(UsageError, match=rf"{name}: expected slices\.json, found no member"):
            protocol_of(tmp_path / name)


def test_a_file_names_its_protocol_which_must_be_known_here(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"tiny\.tar: holds the test set of the protocol 'tiny', .*phantom") as caught:
        protocol_of(world.tar)
    assert "-p FILE.yaml" in caught.value.fix
    (tmp_path / "protocols").mkdir()
    shutil.copy(world.folder / "tiny.yaml", tmp_path / "protocols")
    assert protocol_of(world.tar) == "tiny"


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"name": "other"}, "the test set: expected tiny-4, found other-4"),
        ({"data": "0" * 64}, r"the test set of tiny-4: data digest: expected [0-9a-f]{64}, found 0{64}"),
        ({"labels": "0" * 64}, r"the test set of tiny-4: labels digest: expected [0-9a-f]{64}, found 0{64}"),
        ({"window_hu": (0.0, 1.0)}, "found the same data and labels digests with other digests of slices or recipes"),
    ],
)
def test_a_file_of_another_test_set_says_what_tells_it_apart(
    world: World, tmp_path: Path, part: dict[str, object], said: str
) -> None:
    members = members_of(world.tar)
    stated = msgspec.json.decode(members[0][1], type=OfficialSet)
    members[0] = plain("slices.json", msgspec.json.encode(msgspec.structs.replace(stated, **part)))
    with pytest.raises(UsageError, match=rf"x\.tar: slices\.json: .*{said}"):
        import_set(world.protocol, written(tmp_path / "x.tar", members))


# ------------------------------------------------------------------------------------------------ what may not go out
def with_official(protocol: Protocol) -> Protocol:
    """The protocol with official digests for its own text, whatever they are."""
    assert protocol.official is not None
    official = msgspec.structs.replace(protocol.official, data_recipe=protocol.data_recipe)
    return msgspec.structs.replace(protocol, official=official)


def test_a_secret_test_set_is_not_exported_before_it_is_disclosed(world: World, tmp_path: Path) -> None:
    data = world.protocol.data
    assert isinstance(data, PhantomData)
    secret = with_official(
        msgspec.structs.replace(world.protocol, data=msgspec.structs.replace(data, seed=SECRET.commitment))
    )
    with pytest.raises(UsageError, match="its seed is secret and not disclosed") as caught:
        refuse_export(secret, tmp_path / "x.tar", leaderboard=tmp_path)
    assert "harness secret disclose -p tiny" in caught.value.fix
    write_json(disclosed_file(tmp_path, secret), SECRET)
    assert refuse_export(secret, tmp_path / "x.tar", leaderboard=tmp_path) == secret.official


def test_images_that_are_not_published_are_not_exported(world: World, tmp_path: Path) -> None:
    private = msgspec.structs.replace(world.protocol, publish=Publish(images=False))
    with pytest.raises(UsageError, match="publishes no images"):
        refuse_export(private, tmp_path / "x.tar", leaderboard=tmp_path)
    folder = with_official(msgspec.structs.replace(world.protocol, data=FolderData(path="/slices")))
    with pytest.raises(UsageError, match="its slices are files in a folder"):
        refuse_export(folder, tmp_path / "x.tar", leaderboard=tmp_path)
    with pytest.raises(UsageError, match=r"tiny\.tar: already exists"):
        refuse_export(world.protocol, world.tar, leaderboard=tmp_path)
    with pytest.raises(UsageError, match=r"x\.tar: expected a folder to write into, found the file .*tiny\.tar"):
        refuse_export(world.protocol, world.tar / "new" / "x.tar", leaderboard=tmp_path)
    assert refuse_export(world.protocol, tmp_path / "new" / "x.tar", leaderboard=tmp_path) == world.protocol.official


def test_digests_that_do_not_add_up_import_nothing(world: World, cache: Path) -> None:
    official = world.protocol.official
    assert official is not None
    for changed in (
        msgspec.structs.replace(official, data="0" * 64),
        msgspec.structs.replace(official, labels="0" * 64),
        msgspec.structs.replace(official, slices=official.slices[::-1]),
    ):
        with pytest.raises(UsageError, match=r"tiny-4\.slices\.json: "):
            import_set(msgspec.structs.replace(world.protocol, official=changed), world.tar)
    assert not cache.exists()
    assert json.loads(world.digests.read_text())["data"] == official.data
