"""What may stand before a registry: a reverse proxy that speaks TLS and lets nobody through without the password."""

from __future__ import annotations

import base64
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

from certificates import Certificate


class Gate(ThreadingHTTPServer):
    """Passes requests on to the registry at `url` and counts them; `status` is what those without the password get."""

    daemon_threads = True

    def __init__(self, url: str, user_and_password: str, certificate: Certificate) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.registry = urlsplit(url)
        self.expected = f"Basic {base64.b64encode(user_and_password.encode()).decode()}"
        self.status = 401
        self.passed = 0
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def url(self) -> str:
        return self.registry._replace(scheme="https", netloc=f"127.0.0.1:{self.server_port}").geturl()


class _Handler(BaseHTTPRequestHandler):
    server: Gate

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != self.server.expected:
            self._answer(self.server.status, "text/html", b"<h1>No</h1>")
            return
        self.server.passed += 1
        registry = self.server.registry
        request = urllib.request.Request(  # noqa: S310 - http by construction
            f"{registry.scheme}://{registry.netloc}{self.path}",
            body or None,
            {"Content-Type": self.headers.get("Content-Type", "application/json")},
            method=self.command,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - http by construction
                self._answer(answer.status, answer.headers["Content-Type"], answer.read())
        except urllib.error.HTTPError as error:
            self._answer(error.code, error.headers["Content-Type"], error.read())

    do_GET = do_POST = do_PUT = _pass_on  # noqa: N815 (the base class's names)

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Say nothing."""


@contextmanager
def gate(url: str, user_and_password: str, certificate: Certificate) -> Iterator[Gate]:
    """Run a gate in a thread."""
    with Gate(url, user_and_password, certificate) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
