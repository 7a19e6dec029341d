"""Downloads, the only way to the network: by https, of files whose SHA-256 is known beforehand."""

from __future__ import annotations

import http.client
import ipaddress
import queue
import re
import socket
import threading
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
from harness.base.text import shortened

TIMEOUT_S = 60.0  # without a byte

SLOWEST = 2e6
"""Bytes a second that a server must send on average, beside START_S: one that trickles would hold a run for ever."""

START_S = 300.0

PUBLIC = "give the address of a server that everybody reaches"

_CHUNK = 1 << 20

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

_NOBODYS = tuple(
    map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "224.0.0.0/4", "2001::/23", "2002::/16", "3fff::/20"))
)
"""Addresses that Python may call global and that belong to no server: of protocols, relays, groups and examples."""


class NotTheFile(Exception):
    """The server answered with something else: an HTTP error, too many bytes, another SHA-256; or it is too slow."""


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
    answer. At most `max_bytes` are taken, within the time that they need at SLOWEST. `progress` receives the number of
    bytes so far.

    UsageError for an address that is not allowed; NotTheFile; InfrastructureError without a network or where the
    connection ends early.
    """
    _host_of(url)
    deadline_s = START_S + max_bytes / SLOWEST
    with atomic_file(target) as part:
        stopped = threading.Event()
        ended: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

        def work() -> None:
            try:
                _fetch(url, part, max_bytes=max_bytes, public_only=public_only, progress=progress, stopped=stopped)
            except Exception as error:
                ended.put(error)
            else:
                ended.put(None)

        # no socket, resolver or handshake has a deadline of its own: what hangs is left behind
        threading.Thread(target=work, daemon=True).start()
        try:
            error = ended.get(timeout=deadline_s)
        except queue.Empty:
            raise NotTheFile(f"{url}: not complete after {deadline_s:.0f} s") from None
        finally:
            stopped.set()
        if error is not None:
            raise error
        found = digest_file(part)
        if found != sha256:
            raise NotTheFile(f"{url}: expected SHA-256 {sha256}, found {found}")


def _fetch(
    url: str,
    part: Path,
    *,
    max_bytes: int,
    public_only: bool,
    progress: Callable[[int], None] | None,
    stopped: threading.Event,
) -> None:
    _check_address(url, public_only=public_only)
    opener = urllib.request.build_opener(_SameRules(public_only=public_only), *([_PublicOnly()] if public_only else []))
    try:
        with opener.open(url, timeout=TIMEOUT_S) as response, part.open("wb") as file:
            promised = response.headers.get("Content-Length", "0")
            if not re.fullmatch("[0-9]{1,15}", promised):
                raise NotTheFile(f"{url}: announces {promised[:40]!a} bytes")
            size = int(promised)
            while size <= max_bytes and not stopped.is_set() and (chunk := response.read1(_CHUNK)):
                file.write(chunk)
                size = max(size, file.tell())
                if progress is not None:
                    progress(file.tell())
            if size > max_bytes:
                raise NotTheFile(f"{url}: sends more than the {max_bytes} bytes that were expected")
            if file.tell() < size:
                raise ConnectionError(f"the connection closed after {file.tell()} bytes")
    except (urllib.error.HTTPError, ValueError) as error:  # a redirect to what is no address
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
            raise UsageError(
                f"https://{self.host} answers from an address that is not public, so nothing was fetched", fix=PUBLIC
            )


def _is_public(address: str) -> bool:
    """Whether an address, or the one behind it that a translator reaches, can belong to a server on the internet."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        behind = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF) if found in _NAT64 else found.ipv4_mapped
        if behind is None and found not in ipaddress.IPv6Network("2000::/3"):
            return False  # all that is given to servers lies there
        found = behind or found
    return found.is_global and not any(found in network for network in _NOBODYS)


def _host_of(url: str) -> tuple[str, int]:
    """The host and port of an https address; UsageError for anything else."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
        host.encode("idna")  # no label of more than 63 letters
    except ValueError:  # brackets without an address, a port that is none
        host = ""
    if not host or not re.fullmatch(r"(?i)https://[!-~]{1,2000}", url):
        raise UsageError(
            f"only https addresses are fetched, found {shortened(url, 200)!a}", fix="write https://HOST/PATH"
        )
    return host, port


def _check_address(url: str, *, public_only: bool) -> None:
    host, port = _host_of(url)
    if not public_only:
        return
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise InfrastructureError(
            f"{url}: download failed: {error}", fix="check the network connection, then run it again"
        ) from error
    for *_, address in found:
        if not _is_public(str(address[0])):
            raise UsageError(f"{url}: {address[0]} is not a public address, and only those are fetched", fix=PUBLIC)
