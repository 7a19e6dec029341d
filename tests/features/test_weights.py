import hashlib
import http.server
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from harness import features
from harness.base.download import download
from harness.base.errors import InfrastructureError, UsageError
from harness.features import weights
from tests.https_server import https_server

CONTENT = b"weights" * 100_000


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HARNESS_WEIGHTS", raising=False)
    return tmp_path / "cache" / "weights"


def publish(monkeypatch: pytest.MonkeyPatch, url: str = "https://127.0.0.1:9/w.bin") -> weights.WeightFile:
    """Pretend that CONTENT is what is published for `inception`."""
    file = weights.WeightFile(
        extractor="inception",
        name="w.bin",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=len(CONTENT),
        url=url,
        licence="none",
    )
    monkeypatch.setattr(weights, "KNOWN", (file,))
    return file


@pytest.mark.parametrize("name", ["inception", "clip"])
def test_missing_weights_say_what_to_do(cache: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        features.load(name)
    file = weights.known(name)[0]
    assert file.name in caught.value.message
    assert str(cache) in caught.value.message
    for part in (
        f"harness weights download {name}",
        "harness weights import",
        file.url,
        "HARNESS_WEIGHTS",
        "efficientnet-lite0",
    ):
        assert part in caught.value.fix


@pytest.mark.usefixtures("cache")
def test_extractor_without_published_weights() -> None:
    with pytest.raises(UsageError, match="there are: clip, efficientnet-lite0, inception"):
        weights.find("inception-random")


def test_own_folder_is_looked_in_after_the_given_one(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = publish(monkeypatch)
    cache.mkdir(parents=True)
    (cache / file.name).write_bytes(CONTENT)
    assert weights.find("inception") == (file, cache / file.name)
    given = tmp_path / "given"
    given.mkdir()
    monkeypatch.setenv("HARNESS_WEIGHTS", str(given))
    assert weights.find("inception") == (file, cache / file.name)
    shutil.copy(cache / file.name, given)
    assert weights.find("inception") == (file, given / file.name)


def test_wrong_digest_prints_both(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = publish(monkeypatch)
    cache.mkdir(parents=True)
    (cache / file.name).write_bytes(CONTENT[:-1])
    with pytest.raises(UsageError) as caught:
        features.load("inception")
    assert file.sha256 in caught.value.message
    assert hashlib.sha256(CONTENT[:-1]).hexdigest() in caught.value.message
    assert str(cache / file.name) in caught.value.message


def test_import_recognises_a_renamed_file(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = publish(monkeypatch)
    renamed = tmp_path / "download (1)"
    renamed.write_bytes(CONTENT)
    assert weights.import_file(renamed) == cache / file.name
    assert weights.find("inception")[1].read_bytes() == CONTENT


def test_import_refuses_other_files(cache: Path, tmp_path: Path) -> None:
    other = tmp_path / "inception-2015-12-05.pt"
    other.write_bytes(b"a page that says 404")
    with pytest.raises(UsageError) as caught:
        weights.import_file(other)
    assert hashlib.sha256(other.read_bytes()).hexdigest() in caught.value.message
    assert all(file.sha256 in caught.value.message for file in weights.KNOWN)
    assert not cache.exists()
    with pytest.raises(UsageError, match="no such file"):
        weights.import_file(tmp_path / "absent")


def test_offline_download_names_the_address(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    file = publish(monkeypatch)  # port 9 of this machine: nothing listens
    with pytest.raises(InfrastructureError) as caught:
        weights.fetch("inception")
    assert file.url in caught.value.message
    assert "harness weights import" in caught.value.fix
    assert not cache.exists() or not list(cache.iterdir())


def test_plain_http_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, url="http://127.0.0.1:9/w.bin")
    with pytest.raises(UsageError, match="only https"):
        weights.fetch("inception")
    assert not cache.exists()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/to-http":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:9/w.bin")
            self.end_headers()
        elif self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/w.bin")
            self.end_headers()
        elif self.path == "/absent":
            self.send_error(404)
        else:
            body = {"/w.bin": CONTENT, "/wrong": CONTENT[:-1] + b"?", "/more": CONTENT + b"more", "/cut": CONTENT}
            data = body[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if self.path == "/cut" else data)

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


@pytest.mark.parametrize("path", ["/w.bin", "/moved"])
def test_download(cache: Path, monkeypatch: pytest.MonkeyPatch, address: str, path: str) -> None:
    file = publish(monkeypatch, url=address + path)
    seen: list[tuple[int, int | None]] = []
    target = weights.fetch("inception", progress=lambda done, total: seen.append((done, total)))
    assert target == cache / file.name
    assert target.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert weights.find("inception") == (file, target)
    # a second time nothing is fetched
    monkeypatch.setattr(weights, "KNOWN", (msgspec.structs.replace(file, url="https://127.0.0.1:9/w.bin"),))
    assert weights.fetch("inception") == target


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("/wrong", InfrastructureError, "expected SHA-256 [0-9a-f]{64}, found [0-9a-f]{64}"),
        ("/more", InfrastructureError, "more than the 700000 bytes"),
        ("/cut", InfrastructureError, "closed after 350000 bytes"),
        ("/absent", InfrastructureError, "404"),
        ("/to-http", UsageError, "only https"),
    ],
)
def test_bad_download_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch, address: str, path: str, error: type[Exception], message: str
) -> None:
    publish(monkeypatch, url=address + path)
    with pytest.raises(error, match=message):
        weights.fetch("inception")
    assert not cache.exists() or not list(cache.iterdir())


def test_a_name_that_turns_private_after_it_was_checked_is_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    real = socket.getaddrinfo
    answers = [[(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 443))]]  # what the check hears
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: answers.pop() if answers else real(*a, **k))
    with pytest.raises(UsageError, match="not public, so nothing was fetched"):
        download(f"{address}/w.bin", tmp_path / "w", sha256="0" * 64, max_bytes=10**6, public_only=True)
    assert not answers
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("cache")
def test_untrusted_server_is_refused(monkeypatch: pytest.MonkeyPatch, server: tuple[str, Path]) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    publish(monkeypatch, url=server[0] + "/w.bin")
    with pytest.raises(InfrastructureError, match="certificate"):
        weights.fetch("inception")
