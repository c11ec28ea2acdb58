"""/metrics, /live and /ready over HTTP, from a thread of its own: they answer while the worker is busy."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable
from email.parser import BytesHeaderParser
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from prometheus_client import make_wsgi_app

from broker_events.runtime.process.addresses import host_port, listening_socket
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.process.metrics import Metrics

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

# Several times the longest wait of a loop that is well: a commit through a broker's restart.
LIVE_LIMIT_S: Final = 60.0
# Before the loop begins: for Kafka, the registry, the transactional id, the cursors; each wait gives up by itself.
_WAITS_AT_START: Final = 4
# Bounds of the HTTP server. Prometheus gives up a scrape after 10 s by default.
CONNECTION_S: Final = 10.0
MAX_CONNECTIONS: Final = 100
MAX_HEAD_BYTES: Final = 16_384


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
    """Serves one process's metrics and health; `port` is the real one when 0 was asked for.

    One thread serves every connection, so clients that send or read slowly cost no thread. A connection ends after
    `CONNECTION_S`; beyond `MAX_CONNECTIONS` the oldest one is closed, so a new request is always answered.
    """

    def __init__(self, host: str, port: int, metrics: Metrics, health: Health) -> None:
        checks = {"/live": health.live_problem, "/ready": health.ready_problem}
        self._application = _application(metrics, checks)
        try:
            self._socket = listening_socket(host, port, MAX_CONNECTIONS)
        except OSError as error:
            raise OperatorActionRequired(
                f"PIPELINE_HTTP_HOST, PIPELINE_HTTP_PORT: can't listen on {host_port(host, port)}: "
                f"{error.strerror or error}"
            ) from None
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        self._open: dict[asyncio.Task[None], None] = {}  # oldest first
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self) -> None:
        self._thread.start()
        log.info("metrics and health on http://%s/metrics, /live, /ready", host_port(self.host, self.port))

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(
            self._connection, sock=self._socket, limit=MAX_HEAD_BYTES, backlog=MAX_CONNECTIONS
        )
        await self._stop.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (asyncio runs this in a task)
        while len(self._open) >= MAX_CONNECTIONS:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.cancel()
        self._open[task] = None
        try:
            async with asyncio.timeout(CONNECTION_S):
                writer.transport.set_write_buffer_limits(high=0)  # drain() then waits until everything is sent
                writer.write(self._answer(await _head(reader)))
                await writer.drain()
                writer.write_eof()
                while await reader.read(MAX_HEAD_BYTES):  # closing with unread bytes would cut the answer off
                    pass
        except (OSError, EOFError, asyncio.CancelledError):  # slow, gone or the oldest: nobody waits for an answer
            pass
        finally:
            self._open.pop(task, None)
            writer.transport.abort()

    def _answer(self, head: bytes | None) -> bytes:
        """Return the whole response to a request's first line and headers; None stands for too many bytes."""
        if head is None:
            return _response(_status(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), [], [b"too many header bytes\n"])
        line, _, fields = head.partition(b"\r\n")
        method, _, rest = line.decode("latin-1").partition(" ")
        target, _, version = rest.partition(" ")
        if not (method and target.startswith("/") and version.startswith("HTTP/1.")):
            return _response(_status(HTTPStatus.BAD_REQUEST), [], [b"not an HTTP/1 request\n"])
        path, _, query = target.partition("?")
        headers = BytesHeaderParser().parsebytes(fields)
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "HTTP_ACCEPT": str(headers.get("Accept", "")),
            "HTTP_ACCEPT_ENCODING": str(headers.get("Accept-Encoding", "")),
        }
        begun: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, fields: list[tuple[str, str]], *_error: object) -> Callable[[bytes], object]:
            begun.append((status, fields))
            return lambda _content: None

        content = self._application(environ, start_response)
        return _response(*begun[0], content, is_head=method == "HEAD")


async def _head(reader: asyncio.StreamReader) -> bytes | None:
    """Read up to the blank line; None when there are more than MAX_HEAD_BYTES before it."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return None


def _response(status: str, headers: list[tuple[str, str]], content: Iterable[bytes], *, is_head: bool = False) -> bytes:
    body = b"".join(content)
    sent = [*(headers or [("Content-Type", "text/plain")]), ("Content-Length", str(len(body))), ("Connection", "close")]
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in sent), "", ""]
    return "\r\n".join(lines).encode("latin-1") + (b"" if is_head else body)


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
