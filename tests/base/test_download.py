"""A stranger's address is fetched only from the internet, and only as much and as long as was agreed."""

from __future__ import annotations

import http.server
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.base import download as module
from harness.base.download import NotTheFile, _is_public, download
from harness.base.errors import UsageError
from tests.https_server import https_server


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "239.1.2.3", "255.255.255.255"),
        *("0.0.0.0", "192.0.0.9", "192.88.99.1", "240.0.0.1", "198.18.0.1", "203.0.113.7"),
        *("::1", "::", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1", "ff0e::1", "2001:db8::1", "3fff::1"),
        *("::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "::ffff:100.64.0.1", "::ffff:224.0.0.1", "::127.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::e000:1", "64:ff9b:1::808:808", "64:ff9b:1::7f00:1"),
        *("2002:7f00:1::", "2002:808:808::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "5f00::1", "100::1"),
    ],
)
def test_an_address_that_belongs_to_no_server_on_the_internet(address: str) -> None:
    assert not _is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001::200e", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_an_address_of_a_server_on_the_internet(address: str) -> None:
    assert _is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        *("https://[", "https://[::1", "https://", "https:///x", "https://a:x/", "https://a:99999/", "https://a b/w"),
        *("https://a\n/w", "https://" + "a" * 64 + ".example/w", "http://8.8.8.8/w", "ftp://a/w", "", "\ud800"),
        *("https://[64:ff9b::a9fe:a9fe]/w", "https://2130706433/w", "https://0x7f.1/w"),
    ],
)
def test_what_is_no_public_address_is_refused_unasked(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match=r"only https addresses|not a public address"):
        download(url, tmp_path / "w", sha256="0" * 64, max_bytes=10, public_only=True)
    assert list(tmp_path.iterdir()) == []


class Endless(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/headers":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        elif self.path == "/bracket":
            self.send_response(302)
            self.send_header("Location", "https://[/w")
        else:
            self.send_response(200)
            if self.path.startswith("/length"):
                self.send_header("Content-Length", self.path.rpartition("-")[2])
        if self.path != "/headers":
            self.end_headers()
        for number in itertools.count():
            if self.path not in ("/headers", "/bytes", "/flood") or number > 100:
                return
            self.wfile.write({"/headers": b"X: y\r\n", "/bytes": b"x", "/flood": b"x" * 10_000}[self.path])
            self.wfile.flush()
            time.sleep(0 if self.path == "/flood" else 0.1)

    def log_message(self, format: str, *args: object) -> None:
        del format, args  # quiet


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    with https_server(tmp_path_factory.mktemp("tls"), Endless) as found:
        yield found


@pytest.mark.parametrize(
    ("path", "error", "said"),
    [
        ("/bytes", NotTheFile, "not complete after 0 s"),
        ("/headers", NotTheFile, "not complete after 0 s"),
        ("/flood", NotTheFile, "more than the 90000 bytes"),
        ("/length-900000000", NotTheFile, "more than the 90000 bytes"),
        ("/length-x", NotTheFile, "announces 'x' bytes"),
        ("/bracket", NotTheFile, "Invalid IPv6 URL"),
    ],
)
def test_a_server_without_end_is_left(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: tuple[str, Path],
    path: str,
    error: type[Exception],
    said: str,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(server[1]))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "START_S", 0.4 if path in ("/bytes", "/headers") else 60.0)
    with pytest.raises(error, match=said):
        download(server[0] + path, tmp_path / "w", sha256="0" * 64, max_bytes=90_000, public_only=False)
    assert list(tmp_path.iterdir()) == []
