"""/metrics, /live and /ready, over a real socket."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from broker_events.runtime.process import health
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.process.health import MAX_CONNECTIONS, Health, HealthServer
from broker_events.runtime.process.metrics import Metrics


@pytest.fixture
def state() -> Health:
    return Health()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def server(state: Health, metrics: Metrics) -> Iterator[HealthServer]:
    server = HealthServer("127.0.0.1", 0, metrics, state)
    server.start()
    yield server
    server.stop()


def get(server: HealthServer, path: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 (http by construction)
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_ready_follows_the_worker(server: HealthServer, state: Health) -> None:
    status, body = get(server, "/ready")
    assert (status, json.loads(body)) == (503, {"ok": False, "problem": "starting"})
    state.ready()
    assert get(server, "/ready") == (200, '{"ok": true, "problem": null}\n')
    state.not_ready("stopping")
    assert get(server, "/ready")[0] == 503


def test_live_needs_a_beat(server: HealthServer, state: Health) -> None:
    assert get(server, "/live")[0] == 200
    state.beat(limit_s=-1.0)
    status, body = get(server, "/live")
    assert status == 503
    assert "the loop is 1 s late" in body
    state.beat()
    state.beat()
    assert get(server, "/live")[0] == 200


def test_live_waits_for_what_a_process_needs_at_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("broker_events.runtime.process.health.time.monotonic", lambda: now)
    state = Health(start_timeout_s=60)
    now += 3 * 60 + 59  # Kafka, the registry and the transactional id took almost too long, one after the other
    assert state.live_problem() is None
    state.beat()
    now += 61
    assert state.live_problem() is not None


def test_metrics_are_there(server: HealthServer, metrics: Metrics) -> None:
    metrics.routed.labels("CREDIT").inc(3)
    status, body = get(server, "/metrics")
    assert status == 200
    assert 'broker_events_routed_total{biz_type="CREDIT"} 3.0' in body
    assert "process_cpu_seconds_total" in body


def test_there_is_no_other_path(server: HealthServer) -> None:
    for path in ("/", "/debug", "/debug/pprof", "/metrics/", "/live/..", "/%2e"):
        assert get(server, path) == (404, "/metrics, /live or /ready\n"), path


def test_nothing_but_get(server: HealthServer) -> None:
    for method in ("HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        for path in ("/metrics", "/live", "/ready", "/other"):
            status, body = get(server, path, method)
            assert (status, body or "GET only\n") == (405, "GET only\n"), (method, path)


def test_a_port_that_is_taken(server: HealthServer, state: Health, metrics: Metrics) -> None:
    with pytest.raises(OperatorActionRequired, match=f"PIPELINE_HTTP_PORT: can't listen on 127.0.0.1:{server.port}"):
        HealthServer("127.0.0.1", server.port, metrics, state)


def test_two_sets_of_metrics_do_not_meet() -> None:
    one, two = Metrics(), Metrics()
    one.consumed.labels("t").inc()
    assert two.registry.get_sample_value("broker_events_consumed_total", {"topic": "t"}) is None


def ask(host: str, port: int, request: bytes) -> bytes:
    """Send bytes as they are and return everything up to the end of the connection."""
    with socket.create_connection((host, port), timeout=5) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
        return answer


@pytest.mark.parametrize("silent", [60, 600])
def test_silent_connections_hold_no_threads(server: HealthServer, state: Health, silent: int) -> None:
    state.ready()
    threads = threading.active_count()
    with ExitStack() as connections:
        for number in range(silent):
            connection = connections.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            if number % 2:
                connection.sendall(b"GET /ready HTTP/1.1\r\nX-Slow: ")
            if number % 100 == 99:
                assert get(server, "/ready")[0] == 200
        assert get(server, "/ready")[0] == 200
        assert get(server, "/metrics")[0] == 200
        assert threading.active_count() == threads
        assert len(server._open) <= MAX_CONNECTIONS


def test_a_connection_ends_in_time(server: HealthServer, metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CONNECTION_S", 0.2)
    for number in range(30_000):  # more than the sockets buffer
        metrics.consumed.labels(f"topic-{number}")
    with (
        socket.create_connection(("127.0.0.1", server.port)),
        socket.create_connection(("127.0.0.1", server.port)) as reads_nothing,
    ):
        reads_nothing.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        reads_nothing.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        deadline = time.monotonic() + 60
        while not server._open:
            assert time.monotonic() < deadline
        while server._open:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_request_that_is_none(server: HealthServer) -> None:
    for request, status in {
        b"GET /ready HTTP/1.1\r\nX: " + b"x" * 100_000: b"HTTP/1.1 431 ",
        b"GET /ready\r\n\r\n": b"HTTP/1.1 400 ",
        b"\x16\x03\x01\r\n\r\n": b"HTTP/1.1 400 ",
        b"GET http://example.com/ HTTP/1.1\r\n\r\n": b"HTTP/1.1 400 ",
        b"\r\n\r\n": b"HTTP/1.1 400 ",
        b"POST /ready HTTP/1.1\r\nContent-Length: 9\r\n\r\n123456789": b"HTTP/1.1 405 ",
    }.items():
        assert ask("127.0.0.1", server.port, request)[:13] == status, request[:40]
    assert get(server, "/live")[0] == 200


def test_metrics_as_the_reader_accepts_them(server: HealthServer) -> None:
    answer = ask("127.0.0.1", server.port, b"GET /metrics HTTP/1.1\r\nAccept-Encoding: gzip\r\n\r\n")
    assert b"\r\nContent-Encoding: gzip\r\n" in answer
    answer = ask("127.0.0.1", server.port, b"GET /metrics?name[]=broker_events_connected HTTP/1.0\r\n\r\n")
    assert b"broker_events_connected" in answer
    assert b"broker_events_lag" not in answer


@pytest.mark.parametrize(
    ("listens", "reached"), [("::1", ["::1"]), ("::", ["::1", "127.0.0.1"]), ("localhost", ["localhost"])]
)
def test_ipv6(
    listens: str, reached: list[str], metrics: Metrics, state: Health, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server = HealthServer(listens, 0, metrics, state)
    server.start()
    try:
        for host in reached:
            assert ask(host, server.port, b"GET /live HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")
        shown = f"[{listens}]" if ":" in listens else listens
        assert f"http://{shown}:{server.port}/metrics" in caplog.text
    finally:
        server.stop()


def test_an_address_that_is_none(metrics: Metrics, state: Health) -> None:
    with pytest.raises(OperatorActionRequired, match=r"PIPELINE_HTTP_PORT: can't listen on \[::zz\]:0: "):
        HealthServer("::zz", 0, metrics, state)
