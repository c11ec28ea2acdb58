"""Serves /metrics, /live and /ready over HTTP, in a thread of its own: they answer while the worker is busy."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import threading
import time
from email.parser import BytesHeaderParser
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

from prometheus_client.exposition import choose_encoder, gzip_accepted

from broker_events.runtime.process.addresses import host_port, listening_socket
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.process.metrics import Metrics

log = logging.getLogger(__name__)

# Several times the longest wait of a healthy loop: a commit while a Kafka broker restarts.
LIVE_LIMIT_S: Final = 60.0
# Waits before the loop begins: for Kafka, the registry, the transactional id and the cursors. Each has its own timeout.
_WAITS_AT_START: Final = 4
# Limits of the HTTP server. Prometheus ends a scrape after 10 s by default.
CONNECTION_S: Final = 10.0
MAX_CONNECTIONS: Final = 100
MAX_HEAD_BYTES: Final = 16_384


class Health:
    """State behind /live and /ready. Any thread may call `beat` and set the flags."""

    def __init__(self, start_timeout_s: float = 0.0) -> None:
        """`start_timeout_s`: maximum wait for each service that the process needs at its start."""
        self._alive_until = time.monotonic() + LIVE_LIMIT_S + _WAITS_AT_START * start_timeout_s
        self._not_ready: str | None = "starting"
        self._alarm: str | None = None

    def beat(self, limit_s: float = LIVE_LIMIT_S) -> None:
        """Report an iteration of the worker's loop. The next one must follow within `limit_s`."""
        self._alive_until = time.monotonic() + limit_s

    def ready(self) -> None:
        """Report that partitions are assigned and their state is restored, or that the push stream is open."""
        self._not_ready = None

    def not_ready(self, why: str) -> None:
        self._not_ready = why

    def alarm(self, why: str | None) -> None:
        """Fail /ready with this reason although work continues; None ends it."""
        self._alarm = why

    def live_problem(self) -> str | None:
        """Return why a supervisor should restart the process, or None. Never depends on the cluster's health."""
        late_s = time.monotonic() - self._alive_until
        return f"the loop is {late_s:.0f} s late" if late_s > 0 else None

    def ready_problem(self) -> str | None:
        """Return why the process does no work now, or why its work needs attention, or None."""
        return self._not_ready or self._alarm


class HealthServer:
    """Serves metrics and health of one process; `port` is the real port if 0 was requested.

    One thread serves every connection, so slow clients cost no threads. A connection ends after `CONNECTION_S`. Above
    `MAX_CONNECTIONS` the server closes the oldest one, so it always answers a new request.
    """

    def __init__(self, host: str, port: int, metrics: Metrics, health: Health) -> None:
        self._metrics = metrics
        metrics.ready.set_function(lambda: float(health.ready_problem() is None))
        self._checks = {"/live": health.live_problem, "/ready": health.ready_problem}
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
        except (OSError, EOFError, asyncio.CancelledError):  # slow, gone or the oldest: no client waits for an answer
            pass
        finally:
            self._open.pop(task, None)
            writer.transport.abort()

    def _answer(self, head: bytes | None) -> bytes:
        """Return the response to a request's first line and headers; None stands for too many bytes."""
        if head is None:
            return _response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, b"too many header bytes\n")
        line, _, fields = head.partition(b"\r\n")
        method, _, rest = line.decode("latin-1").partition(" ")
        target, _, version = rest.partition(" ")
        if not (method and target.startswith("/") and version.startswith("HTTP/1.")):
            return _response(HTTPStatus.BAD_REQUEST, b"not an HTTP/1 request\n")
        if method != "GET":
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, b"" if method == "HEAD" else b"GET only\n", Allow="GET")
        path, _, query = target.partition("?")
        if path == "/metrics":
            return self._exposition(fields, query)
        if path not in self._checks:
            return _response(HTTPStatus.NOT_FOUND, b"/metrics, /live or /ready\n")
        problem = self._checks[path]()
        status = HTTPStatus.OK if problem is None else HTTPStatus.SERVICE_UNAVAILABLE
        body = json.dumps({"ok": problem is None, "problem": problem}).encode() + b"\n"
        return _response(status, body, **{"Content-Type": "application/json"})

    def _exposition(self, fields: bytes, query: str) -> bytes:
        headers = BytesHeaderParser().parsebytes(fields)
        encode, content_type = choose_encoder(str(headers.get("Accept", "")))
        registry, names = self._metrics.registry, parse_qs(query).get("name[]")
        body = encode(registry.restricted_registry(names) if names else registry)
        more = {"Content-Type": content_type}
        if gzip_accepted(str(headers.get("Accept-Encoding", ""))):
            body, more["Content-Encoding"] = gzip.compress(body), "gzip"
        return _response(HTTPStatus.OK, body, **more)


async def _head(reader: asyncio.StreamReader) -> bytes | None:
    """Read up to the blank line; None if there are more than MAX_HEAD_BYTES before it."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return None


def _response(status: HTTPStatus, body: bytes, **headers: str) -> bytes:
    sent = {"Content-Type": "text/plain", **headers, "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
