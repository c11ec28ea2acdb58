"""Proxies: used where a setting names one, never for this machine, never because of the environment."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import Mock

import grpc
import pytest

from broker_events.devstack.local_http import open_local
from broker_events.ingest.sources.broker_push import BrokerPush
from broker_events.runtime.process.addresses import host_port, is_loopback
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.process.health import Health
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.schema_ids import open_registry
from broker_events.runtime.settings import load_settings
from broker_events.schemas import registry
from broker_events.schemas.codec import EventDecoder
from broker_events.schemas.registry import Registry, RegistryError

NOBODY = "http://127.0.0.1:9"


class Answering(BaseHTTPRequestHandler):
    """Answers each request with the server's status, and writes down what was asked for."""

    server: Any

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        body = b'{"schema": "\\"string\\""}'
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_CONNECT = do_GET  # noqa: N815 (the base class's naming)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.status = status
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


@pytest.fixture(params=[200])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(request.param) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


refusing = pytest.mark.parametrize("server", [403, 407], indirect=True)


@pytest.fixture
def _environment_with_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, NOBODY)
        monkeypatch.setenv(name.upper(), NOBODY)
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("_environment_with_proxies")
def test_the_environments_proxies_are_not_used(server: Server) -> None:
    assert Registry(server.url).schema_text(1) == '"string"'
    assert open_registry(load_settings(schema_registry_url=server.url)).schema_text(1) == '"string"'
    with pytest.raises(RegistryError, match="cannot be reached") as raised:
        Registry("http://registry.invalid:8081").schema_text(1)
    assert "127.0.0.1:9" not in str(raised.value)
    assert open_local(f"{server.url}/ready", timeout=5).status == 200


def test_a_proxy_that_a_setting_names(server: Server) -> None:
    settings = load_settings(schema_registry_url="http://registry.invalid:8081", schema_registry_proxy=server.url)
    assert open_registry(settings).schema_text(7) == '"string"'
    assert server.asked[-1].startswith("GET http://registry.invalid:8081/schemas/ids/7")
    with pytest.raises(ValueError, match="schema id 7 "):  # it is no schema of ours
        EventDecoder("http://registry.invalid:8081", proxy=server.url).decode(b"\0\0\0\0\7")


def test_a_proxy_is_not_used_for_this_machine(server: Server) -> None:
    settings = load_settings(schema_registry_url=server.url, schema_registry_proxy=NOBODY)
    assert open_registry(settings).schema_text(1) == '"string"'


@refusing
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_is_named(server: Server, scheme: str) -> None:
    registry = Registry(f"{scheme}://registry.invalid:8081", proxy=server.url)
    with pytest.raises(RegistryError, match=f"through the proxy {server.url}") as raised:
        registry.schema_text(1)
    assert str(server.status) in str(raised.value)


def push_end(caplog: pytest.LogCaptureFixture, **settings: object) -> str:
    """Run a push source until its stream has ended once, and return what it logs of that."""
    caplog.set_level(logging.INFO)
    push = BrokerPush(
        load_settings(app_key="k", app_secret="s", grpc_tls=False, **settings),  # noqa: S106
        Metrics(),
        Health(),
    )

    class Stop(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "stream ended" in record.getMessage():
                push.stop()

    handler = Stop()
    logging.getLogger("broker_events.ingest.sources.broker_push").addHandler(handler)
    try:
        assert [*push.receive(dict)] == []
    finally:
        logging.getLogger("broker_events.ingest.sources.broker_push").removeHandler(handler)
    return next(message for message in caplog.messages if "stream ended" in message)


@refusing
def test_the_push_goes_through_its_proxy(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    text = push_end(caplog, grpc_target="push.invalid:443", grpc_proxy=server.url)
    assert server.asked == ["CONNECT push.invalid:443"]
    assert f"through the proxy {server.url}" in text
    assert str(server.status) in text


@pytest.mark.usefixtures("_environment_with_proxies")
def test_the_push_to_this_machine_uses_no_proxy(caplog: pytest.LogCaptureFixture) -> None:
    service = grpc.server(None)  # type: ignore[arg-type]  # no method, so no thread is needed
    port = service.add_insecure_port("[::1]:0")
    service.start()
    try:
        text = push_end(caplog, grpc_target=host_port("::1", port), grpc_proxy=NOBODY)
    finally:
        service.stop(None)
    assert "proxy" not in text
    assert "unimplemented" in text.lower()


@pytest.mark.usefixtures("_environment_with_proxies")
def test_the_push_uses_no_proxy_of_the_environment(caplog: pytest.LogCaptureFixture) -> None:
    assert "127.0.0.1:9" not in push_end(caplog, grpc_target="push.invalid:443")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://127.0.0.1:8081", True),
        ("http://localhost", True),
        ("http://LOCALHOST:80/x", True),
        ("a.localhost:1", True),
        ("http://[::1]:8081/apis", True),
        ("[::1]:50051", True),
        ("[::ffff:127.0.0.1]:1", True),
        ("127.8.9.1:50051", True),
        ("ipv6:[::1]:50051", True),
        ("ipv4:127.0.0.1:50051", True),
        ("dns:///localhost:50051", True),
        ("dns://8.8.8.8/push.example.com:443", False),
        ("push.example.com:443", False),
        ("http://127.0.0.1.example.com", False),
        ("http://example.com/127.0.0.1", False),
        ("[fe80::1]:443", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_what_is_this_machine(address: str, expected: bool) -> None:  # noqa: FBT001 (a case of the table)
    assert is_loopback(address) is expected


@pytest.mark.parametrize("name", ["schema_registry_proxy", "grpc_proxy"])
def test_what_a_proxy_looks_like(name: str) -> None:
    assert getattr(load_settings(**{name: "http://[fd00::1]:3128/"}), name) == "http://[fd00::1]:3128/"
    for value in ("proxy:3128", "https://proxy:3128", "socks5://proxy", "http://u:hunter2@proxy:3128", "http://p/x"):
        with pytest.raises(OperatorActionRequired, match=f"PIPELINE_{name.upper()}: ") as raised:
            load_settings(**{name: value})
        assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("renamed", ["_rest_client", "session"])
def test_a_client_whose_session_is_elsewhere_ends_with_one_error(renamed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of confluent-kafka may rename what is private. No request goes to the placeholder proxy."""

    class Other:
        def __init__(self, _: object) -> None:
            if renamed != "_rest_client":
                self._rest_client = Mock(spec=["verify", "auth", "timeout"])

    monkeypatch.setattr(registry, "SchemaRegistryClient", Other)
    with pytest.raises(RegistryError, match=f"doesn't let us replace its HTTP session.*{renamed}"):
        Registry("http://127.0.0.1:1")
    with pytest.raises(OperatorActionRequired, match="Install confluent-kafka"):
        open_registry(load_settings())
