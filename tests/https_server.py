"""A real https server on this machine, with a certificate of its own."""

from __future__ import annotations

import http.server
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def https_server(folder: Path, handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[tuple[str, Path]]:
    """The server's address and the certificate to trust, which is made in `folder`."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate for a local https server")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    command = ["openssl", *request.split(), "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{listening.server_port}", certificate
        listening.shutdown()
