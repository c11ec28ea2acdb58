"""/metrics, /live and /ready over HTTP, from a thread of its own: they answer while the worker is busy."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from runtime.errors import SettingsError
from runtime.metrics import Metrics

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

# Several times the longest wait of a loop that is well: a commit through a broker's restart.
LIVE_LIMIT_S: Final = 60.0
# Before the loop begins: for Kafka, the registry, the transactional id, the cursors; each wait gives up by itself.
_WAITS_AT_START: Final = 4


class Health:
    """What /live and /ready say. `beat` and the flags may be set from any thread."""

    def __init__(self, start_timeout_s: float = 0.0) -> None:
        """`start_timeout_s`: how long each thing that a process needs at its start may take to answer."""
        self._alive_until = time.monotonic() + LIVE_LIMIT_S + _WAITS_AT_START * start_timeout_s
        self._not_ready: str | None = "starting"
        self._alarm: str | None = None

    def beat(self, limit_s: float = LIVE_LIMIT_S) -> None:
        """The worker's loop has come round; it will again within `limit_s`."""
        self._alive_until = time.monotonic() + limit_s

    def ready(self) -> None:
        """Partitions are assigned and their state is restored; or the push stream is open."""
        self._not_ready = None

    def not_ready(self, why: str) -> None:
        self._not_ready = why

    def alarm(self, why: str | None) -> None:
        """The work goes on, but not as it should; None: it does again."""
        self._alarm = why

    def live_problem(self) -> str | None:
        """None, or why a supervisor should restart the process. Never depends on the cluster's health."""
        late_s = time.monotonic() - self._alive_until
        return f"the loop is {late_s:.0f} s late" if late_s > 0 else None

    def ready_problem(self) -> str | None:
        """None, or why the process isn't doing its work at the moment, or not as it should."""
        return self._not_ready or self._alarm


class HealthServer:
    """Serves one process's metrics and health; `port` is the real one when 0 was asked for."""

    def __init__(self, host: str, port: int, metrics: Metrics, health: Health) -> None:
        checks = {"/live": health.live_problem, "/ready": health.ready_problem}
        try:
            self._server = make_server(
                host, port, _application(metrics, checks), server_class=_ThreadingServer, handler_class=_QuietHandler
            )
        except OSError as error:
            raise SettingsError(f"PIPELINE_HTTP_PORT: can't listen on {host}:{port}: {error.strerror}") from None
        self.host = host
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    def start(self) -> None:
        self._thread.start()
        log.info("metrics and health on http://%s:%d/metrics, /live, /ready", self.host, self.port)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _application(metrics: Metrics, checks: dict[str, Callable[[], str | None]]) -> WSGIApplication:
    exposition = make_wsgi_app(metrics.registry)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] != "GET":
            start_response(_status(HTTPStatus.METHOD_NOT_ALLOWED), [("Content-Type", "text/plain"), ("Allow", "GET")])
            return [b"GET only\n"]
        if path == "/metrics":
            pages: Iterable[bytes] = exposition(environ, start_response)
            return pages
        if path not in checks:
            start_response(_status(HTTPStatus.NOT_FOUND), [("Content-Type", "text/plain")])
            return [b"/metrics, /live or /ready\n"]
        problem = checks[path]()
        status = HTTPStatus.OK if problem is None else HTTPStatus.SERVICE_UNAVAILABLE
        start_response(_status(status), [("Content-Type", "application/json")])
        return [json.dumps({"ok": problem is None, "problem": problem}).encode() + b"\n"]

    return answer


def _status(status: HTTPStatus) -> str:
    return f"{status.value} {status.phrase}"


class _ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        log.debug(format, *args)
