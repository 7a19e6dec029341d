"""Downloads, the only way to the network: by https, of files whose SHA-256 is known beforehand."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import IO, Any

from harness.base.digests import digest_file
from harness.base.errors import InfrastructureError, UsageError
from harness.base.files import atomic_file

TIMEOUT_S = 60.0
_CHUNK = 1 << 20


class NotTheFile(Exception):
    """The server answered with something else: an HTTP error, too many bytes, another SHA-256."""


def download(
    url: str,
    target: Path,
    *,
    sha256: str,
    max_bytes: int,
    public_only: bool,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Fetch `url` to `target`, which appears only once it is complete and has the right SHA-256 (hex).

    Only https is allowed, redirects included. With `public_only` the server must have a public address, so that a
    stranger's URL cannot make this machine fetch from its own network: the name is resolved and checked first, and
    the address that answers is checked again before anything is requested, since name servers can change their
    answer. `progress` receives the number of bytes so far.

    UsageError for an address that is not allowed; NotTheFile; InfrastructureError without a network or where the
    connection ends early.
    """
    _check_address(url, public_only=public_only)
    opener = urllib.request.build_opener(_SameRules(public_only=public_only), *([_PublicOnly()] if public_only else []))
    try:
        with atomic_file(target) as part:
            with opener.open(url, timeout=TIMEOUT_S) as response, part.open("wb") as file:
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    if file.tell() > max_bytes:
                        raise NotTheFile(f"{url}: sends more than the {max_bytes} bytes that were expected")
                    if progress is not None:
                        progress(file.tell())
                if file.tell() < int(response.headers.get("Content-Length", 0)):
                    raise ConnectionError(f"the connection closed after {file.tell()} bytes")
            found = digest_file(part)
            if found != sha256:
                raise NotTheFile(f"{url}: expected SHA-256 {sha256}, found {found}")
    except urllib.error.HTTPError as error:
        raise NotTheFile(f"{url}: {error}") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise InfrastructureError(
            f"{url}: download failed: {error}", fix="check the network connection, then run it again"
        ) from error


class _SameRules(urllib.request.HTTPRedirectHandler):
    """Holds redirects to the same rules as the first address."""

    def __init__(self, *, public_only: bool) -> None:
        self.public_only = public_only

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        _check_address(newurl, public_only=self.public_only)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


class _PublicOnly(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_PublicConnection, req)


class _PublicConnection(http.client.HTTPSConnection):
    """Hangs up on an address that is not public, unless it is the user's own proxy."""

    proxied = False

    def set_tunnel(self, *args: Any, **kwargs: Any) -> None:
        self.proxied = True
        super().set_tunnel(*args, **kwargs)

    def connect(self) -> None:
        super().connect()
        if not self.proxied and not _is_public(self.sock.getpeername()[0]):
            self.close()
            raise UsageError(f"https://{self.host} answers from an address that is not public, so nothing was fetched")


def _is_public(address: str) -> bool:
    return ipaddress.ip_address(address.split("%")[0]).is_global


def _check_address(url: str, *, public_only: bool) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise UsageError(f"only https addresses are fetched, found {url!r}")
    if not public_only:
        return
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    except OSError as error:
        raise InfrastructureError(
            f"{url}: download failed: {error}", fix="check the network connection, then run it again"
        ) from error
    for *_, address in found:
        if not _is_public(str(address[0])):
            raise UsageError(f"{url}: {address[0]} is not a public address, and only those are fetched")
