"""The attachment store: folder, https, fsspec; what is damaged, missing or interrupted."""

from __future__ import annotations

import hashlib
import http.server
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import msgspec
import pytest

from harness.base.errors import InfrastructureError, UsageError
from harness.records.attachments import Attachment, Store, attachment, attachments, open_store, unique
from harness.records.encoding import encode
from harness.records.locations import send
from harness.records.schema import make_record
from harness.records.store import read_record, record_folder, write_record
from harness.scoring.attachment_names import FEATURES, SLICES
from tests.board_records import scored
from tests.https_server import https_server

CONTENT = b"features" * 50_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAME = f"{DIGEST}.npz"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HARNESS_STORE", "HARNESS_STORE_READ"):
        monkeypatch.delenv(name, raising=False)


def wanted(folder: Path) -> Attachment:
    return Attachment(name=FEATURES, sha256=DIGEST, folder=folder / "record")


def store(folder: Path, *read: str) -> Store:
    return Store(folder=folder / "store", read=read)


def nothing_stays(folder: Path) -> bool:
    return not (folder / "store").is_dir() or not list((folder / "store").iterdir())


# ------------------------------------------------------------------------------------------------ records
def test_large_files_go_to_the_store_and_small_ones_stay(tmp_path: Path) -> None:
    folder, _ = write_record(tmp_path, scored("tv", 1.0), {FEATURES: CONTENT, SLICES: b"rows"})
    assert {path.name for path in folder.iterdir()} == {"record.json", SLICES}
    assert (tmp_path / "attachments" / NAME).read_bytes() == CONTENT
    record = read_record(folder)
    (found,) = attachments(record, folder)
    assert (found.name, found.sha256, found.file) == (FEATURES, DIGEST, NAME)
    assert open_store(tmp_path).get(found).read_bytes() == CONTENT


def test_a_record_is_read_without_its_attachments(tmp_path: Path) -> None:
    folder, _ = write_record(tmp_path, scored("tv", 1.0), {FEATURES: CONTENT})
    shutil.rmtree(tmp_path / "attachments")
    record = read_record(folder)
    with pytest.raises(UsageError, match=f"{record.id}: its features.npz is not in .*attachments, and no location"):
        open_store(tmp_path).get(attachment(record, folder, FEATURES))


def test_a_repeated_run_fills_the_gap_in_the_store_with_equal_files_only(tmp_path: Path) -> None:
    files = {FEATURES: CONTENT, "worst-input.webp": b"picture"}
    write_record(tmp_path, scored("tv", 1.0), files)
    shutil.rmtree(tmp_path / "attachments")
    _, new = write_record(tmp_path, scored("tv", 1.0), files | {"worst-input.webp": b"compressed anew"})
    assert not new
    assert [path.name for path in (tmp_path / "attachments").iterdir()] == [NAME]


def test_equal_files_are_stored_once(tmp_path: Path) -> None:
    for slug in ("tv", "nlm"):
        write_record(tmp_path, scored(slug, 1.0), {"worst-input.webp": b"same", "worst-output.webp": slug.encode()})
    assert len(list((tmp_path / "attachments").iterdir())) == 3
    folders = [path.parent for path in tmp_path.glob("records/*/*/*/record.json")]
    assert len(unique([one for each in folders for one in attachments(read_record(each), each)])) == 3


def test_pictures_are_left_out_where_they_may_not_be_shown(tmp_path: Path) -> None:
    folder, _ = write_record(tmp_path, scored("tv", 1.0), {FEATURES: CONTENT, "preview.png": b"png"})
    assert [one.name for one in attachments(read_record(folder), folder, images=False)] == [FEATURES]


@pytest.mark.parametrize(
    "files",
    [
        {FEATURES: "../../etc/passwd"},
        {"../../../../outside.txt": DIGEST},
        {"/proc/self/environ": DIGEST},
        {".hidden.png": DIGEST},
        {"\x1b[31mred.webp": DIGEST},
        {"a.webp\n::error::x.webp": DIGEST},
    ],
)
def test_names_and_digests_that_lead_elsewhere_are_refused(tmp_path: Path, files: dict[str, str]) -> None:
    record = scored("tv", 1.0)
    folder = record_folder(tmp_path, record)
    folder.mkdir(parents=True)
    observed = msgspec.structs.replace(record.observed, files=files)
    (folder / "record.json").write_bytes(encode(msgspec.structs.replace(record, observed=observed)))
    with pytest.raises(UsageError, match=r"file 0: expected") as caught:
        read_record(folder)
    assert "\x1b" not in caught.value.message
    assert "\n::" not in caught.value.message


def test_a_slug_that_is_a_path_is_refused(tmp_path: Path) -> None:
    result = scored("tv", 1.0).result
    submission = msgspec.structs.replace(result.submission, slug="../../../../pwned")
    record = make_record(msgspec.structs.replace(result, submission=submission), scored("tv", 1.0).observed)
    folder = tmp_path / "records" / "phantom-1" / "tv" / record.id
    folder.mkdir(parents=True)
    (folder / "record.json").write_bytes(encode(record))
    with pytest.raises(UsageError, match="slug"):
        read_record(folder)


def test_links_are_no_attachments(tmp_path: Path) -> None:
    one = wanted(tmp_path)
    one.folder.mkdir()
    (tmp_path / "elsewhere").write_bytes(CONTENT)
    (one.folder / one.name).symlink_to(tmp_path / "elsewhere")
    held = store(tmp_path)
    assert held.here(one) is None
    assert not held.adopt(one)
    assert (tmp_path / "elsewhere").read_bytes() == CONTENT


def test_a_file_of_the_same_name_in_the_records_folder_does_not_hide_a_sound_one(tmp_path: Path) -> None:
    one = wanted(tmp_path)
    one.folder.mkdir()
    (one.folder / one.name).write_bytes(b"alien")
    held = store(tmp_path)
    held.put(one, CONTENT)
    assert held.verified(one) == tmp_path / "store" / NAME


def test_one_unusable_location_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / NAME).write_bytes(CONTENT)
    bad = ("nosuch://x/y", "/etc/passwd", "~nosuchuser/x")
    assert store(tmp_path, *bad, str(tmp_path / "good")).get(wanted(tmp_path)).read_bytes() == CONTENT


def test_what_older_versions_kept_beside_the_record_moves_into_the_store(tmp_path: Path) -> None:
    one = wanted(tmp_path)
    one.folder.mkdir()
    (one.folder / FEATURES).write_bytes(CONTENT)
    assert store(tmp_path).get(one) == one.folder / FEATURES
    assert store(tmp_path).adopt(one)
    assert not (one.folder / FEATURES).exists()
    assert (tmp_path / "store" / NAME).read_bytes() == CONTENT
    assert not store(tmp_path).adopt(one)
    (one.folder / FEATURES).write_bytes(b"damaged")
    with pytest.raises(UsageError, match="damaged or altered"):
        store(tmp_path).adopt(one)
    assert (one.folder / FEATURES).is_file()


# ------------------------------------------------------------------------------------------------ settings
def test_folder_and_locations_are_the_leaderboards_unless_the_environment_says_otherwise(tmp_path: Path) -> None:
    assert open_store(tmp_path, {}) == Store(folder=tmp_path / "attachments", read=())
    (tmp_path / "store.yaml").write_text("schema: 1\nread: [https://example.org/a, 's3://bucket/b']\n")
    assert open_store(tmp_path, {}).read == ("https://example.org/a", "s3://bucket/b")
    environment = {"HARNESS_STORE": "/elsewhere", "HARNESS_STORE_READ": "/one  /two"}
    assert open_store(tmp_path, environment) == Store(folder=Path("/elsewhere"), read=("/one", "/two"))
    assert open_store(tmp_path, {"HARNESS_STORE_READ": ""}).read == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schema: 1\nwrite: [x]\n", "unknown field"),
        ("read: ['http://example.org']\n", "plain http"),
        ("read: x", "read"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "store.yaml").write_text(text)
    with pytest.raises(UsageError, match=rf"store\.yaml.*{message}"):
        open_store(tmp_path, {})


# ------------------------------------------------------------------------------------------------ folder
def test_a_folder_is_read_and_damage_is_refused_by_name(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / NAME).write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(UsageError, match=f"{other}/{NAME}: SHA-256 is [0-9a-f]{{64}}, expected {DIGEST}"):
        store(tmp_path, str(other)).get(wanted(tmp_path))
    assert nothing_stays(tmp_path)
    (other / NAME).write_bytes(CONTENT)
    path = store(tmp_path, "/nowhere", str(other)).get(wanted(tmp_path))
    assert path == tmp_path / "store" / NAME
    path.write_bytes(b"altered")
    with pytest.raises(UsageError, match=f"{path}: damaged or altered"):
        store(tmp_path, str(other)).get(wanted(tmp_path))


def test_what_is_nowhere_names_every_location(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        store(tmp_path, "/nowhere", "memory://empty").get(wanted(tmp_path))
    assert f"/nowhere/{NAME}: no such file" in caught.value.message
    assert f"memory://empty/{NAME}: no such file" in caught.value.message


def test_a_folder_is_pushed_to_and_what_is_damaged_stays_here(tmp_path: Path) -> None:
    one, target = wanted(tmp_path), str(tmp_path / "target")
    store(tmp_path).put(one, CONTENT)
    path = tmp_path / "store" / NAME
    assert send(path, target, one.file, sha256=DIGEST)
    assert not send(path, target, one.file, sha256=DIGEST)
    assert store(tmp_path / "b", target).get(one).read_bytes() == CONTENT
    path.write_bytes(b"damaged")
    with pytest.raises(UsageError, match="damaged or altered"):
        send(path, str(tmp_path / "more"), one.file, sha256=DIGEST)
    assert not (tmp_path / "more").exists()


# ------------------------------------------------------------------------------------------------ https
class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the first part of the path, whatever file of it is asked for."""

    def do_GET(self) -> None:
        _, how, name = self.path.split("/")
        if how == "absent" or name != NAME:
            self.send_error(404)
            return
        data = {"good": CONTENT, "wrong": CONTENT[:-1] + b"?", "cut": CONTENT}[how]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if how == "cut" else data)

    def log_message(self, format: str, *args: object) -> None:
        del format, args  # quiet


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A real https server on this machine and the certificate to trust."""
    with https_server(tmp_path_factory.mktemp("tls"), Handler) as found:
        yield found


@pytest.fixture
def address(server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SSL_CERT_FILE", str(server[1]))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return server[0]


def test_https_is_fetched_verified_and_asked_once(tmp_path: Path, address: str) -> None:
    """The locations are tried in turn, whatever is wrong with the first ones."""
    locations = [f"{address}/{how}" for how in ("absent", "wrong", "cut", "good")]
    path = store(tmp_path, *locations).get(wanted(tmp_path))
    assert path.read_bytes() == CONTENT
    assert store(tmp_path, "https://127.0.0.1:9/nobody").get(wanted(tmp_path)) == path


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("absent", UsageError, "404"),
        ("wrong", UsageError, f"expected SHA-256 {DIGEST}, found [0-9a-f]{{64}}"),
        ("cut", InfrastructureError, "closed after 200000 bytes"),
    ],
)
def test_a_bad_download_leaves_nothing(
    tmp_path: Path, address: str, how: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        store(tmp_path, f"{address}/{how}/").get(wanted(tmp_path))
    assert nothing_stays(tmp_path)


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(InfrastructureError, match="download failed"):
        store(tmp_path, "https://127.0.0.1:9/store").get(wanted(tmp_path))


def test_https_is_not_written_to(tmp_path: Path) -> None:
    store(tmp_path).put(wanted(tmp_path), CONTENT)
    with pytest.raises(UsageError, match="cannot be sent by http"):
        send(tmp_path / "store" / NAME, "https://example.org/store", NAME, sha256=DIGEST)


# ------------------------------------------------------------------------------------------------ fsspec
@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_fsspec_is_pushed_to_and_fetched_from(tmp_path: Path, scheme: str) -> None:
    location = "memory://board/store/" if scheme == "memory" else (tmp_path / "there").as_uri()
    store(tmp_path).put(wanted(tmp_path), CONTENT)
    path = tmp_path / "store" / NAME
    assert send(path, location, NAME, sha256=DIGEST)
    assert not send(path, location, NAME, sha256=DIGEST)
    path.unlink()
    assert store(tmp_path, location).get(wanted(tmp_path)).read_bytes() == CONTENT
    path.unlink()
    with fsspec.open(f"{location.rstrip('/')}/{NAME}", "wb") as file:
        file.write(CONTENT[:-1])
    with pytest.raises(UsageError, match="SHA-256 is"):
        store(tmp_path, location).get(wanted(tmp_path))
    assert nothing_stays(tmp_path)


@pytest.mark.parametrize(("url", "error"), [("nosuch://x", UsageError), ("ftp://127.0.0.1:9/x", InfrastructureError)])
def test_a_url_that_cannot_be_opened_is_named(tmp_path: Path, url: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=url):
        store(tmp_path, url).get(wanted(tmp_path))
    assert nothing_stays(tmp_path)


def test_an_interrupted_download_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(_source: Any, target: Any) -> None:
        target.write(CONTENT[:1000])
        raise KeyboardInterrupt

    with fsspec.open(f"memory://interrupted/{NAME}", "wb") as file:
        file.write(CONTENT)
    monkeypatch.setattr(shutil, "copyfileobj", half)
    with pytest.raises(KeyboardInterrupt):
        store(tmp_path, "memory://interrupted").get(wanted(tmp_path))
    assert nothing_stays(tmp_path)
