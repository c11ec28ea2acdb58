"""/metrics, /live and /ready, over a real socket."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from runtime.errors import SettingsError
from runtime.health import Health, HealthServer
from runtime.metrics import Metrics


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
    monkeypatch.setattr("runtime.health.time.monotonic", lambda: now)
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
    with pytest.raises(SettingsError, match=f"PIPELINE_HTTP_PORT: can't listen on 127.0.0.1:{server.port}"):
        HealthServer("127.0.0.1", server.port, metrics, state)


def test_two_sets_of_metrics_do_not_meet() -> None:
    one, two = Metrics(), Metrics()
    one.consumed.labels("t").inc()
    assert two.registry.get_sample_value("broker_events_consumed_total", {"topic": "t"}) is None
