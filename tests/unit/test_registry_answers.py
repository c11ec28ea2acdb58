"""What a process ends with for what the registry's address answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import Mock

import pytest

from broker_events.runtime.process.errors import OperatorActionRequired, PipelineError, RestartRequired
from broker_events.runtime.schema_ids import open_registry, registry_problem, resolve_schema_ids, schema_lookup
from broker_events.runtime.settings import Settings, load_settings
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.registry import RegistryError, SchemaNotRegistered

READ_ONLY = b'{"error_code": 42205, "message": "Subject is in read-only mode"}'


class Answering(BaseHTTPRequestHandler):
    server: Any

    def do_GET(self) -> None:
        if length := int(self.headers.get("Content-Length", 0)):
            self.rfile.read(length)
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    do_POST = do_GET  # noqa: N815 (the base class's naming)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> Iterator[Settings]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        server.status, server.body = request.param  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield load_settings(schema_registry_url=f"http://127.0.0.1:{server.server_port}", start_timeout_s=0.1)
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("settings", "ends_with"),
    [
        ((404, b"<html>not found</html>"), OperatorActionRequired),
        ((400, b"what?"), OperatorActionRequired),
        ((200, b"<html>welcome</html>"), OperatorActionRequired),
        ((422, READ_ONLY), OperatorActionRequired),
        ((429, b"later"), RestartRequired),
        ((500, b'{"error_code": 50001, "message": "store"}'), RestartRequired),
        ((503, b"starting"), RestartRequired),
    ],
    indirect=["settings"],
)
def test_what_only_a_person_can_change(settings: Settings, ends_with: type[PipelineError]) -> None:
    with pytest.raises(ends_with) as raised:
        resolve_schema_ids(settings, load_catalog())
    assert "http://127.0.0.1" in str(raised.value)
    if ends_with is OperatorActionRequired:
        assert str(raised.value).startswith("PIPELINE_SCHEMA_REGISTRY_URL: ")
    with pytest.raises(RegistryError) as asked:
        open_registry(settings).schema_text(1)
    assert type(registry_problem(asked.value)) is ends_with


class KnowingOneSubject(Answering):
    """A registry that answers for the subject of quarantine, and with `server.status` for every schema id."""

    def do_GET(self) -> None:
        if self.path.startswith("/subjects/broker.quarantine-value/versions") and self.server.works:
            self.server.status, before = 200, self.server.status
            self.server.body = b"[1]"
            super().do_GET()
            self.server.status, self.server.body = before, b"<html>not found</html>"
        else:
            super().do_GET()


@pytest.mark.parametrize("works", [True, False])
@pytest.mark.parametrize("status", [404, 400, 403, 500])
def test_a_lookup_that_fails_for_one_id(status: int, *, works: bool) -> None:
    """The record is at fault only where the registry answers for another schema."""
    with ThreadingHTTPServer(("127.0.0.1", 0), KnowingOneSubject) as server:
        server.status, server.body, server.works = status, b"<html>not found</html>", works  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        settings = load_settings(schema_registry_url=f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(RegistryError) as raised:
            schema_lookup(settings, within_s=0.01)(4711)
        server.shutdown()
        thread.join()
    assert isinstance(raised.value, SchemaNotRegistered) == works
    if works:
        assert "the registry works, but not for the schema id 4711" in str(raised.value)


class Unavailable(KnowingOneSubject):
    """The same, but a lookup of an id has no answer: the connection breaks, or the server can't answer now."""

    def do_GET(self) -> None:
        if self.server.status == 0 and self.path.startswith("/schemas"):
            self.close_connection = True
        else:
            super().do_GET()


@pytest.mark.parametrize("status", [0, 429, 502, 503, 504])
def test_a_lookup_without_an_answer_is_not_about_the_id(status: int) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Unavailable) as server:
        server.status, server.body, server.works = status, b"", True  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        registry = open_registry(load_settings(schema_registry_url=f"http://127.0.0.1:{server.server_port}"))
        with pytest.raises(RegistryError) as raised:
            registry.schema_text(4711, "broker.quarantine-value")
        server.shutdown()
        thread.join()
    assert not isinstance(raised.value, SchemaNotRegistered)
    assert type(registry_problem(raised.value)) is RestartRequired


def test_a_lookup_that_times_out_is_not_about_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = open_registry(load_settings(schema_registry_url="http://registry:8081"))
    client: Any = Mock(**{"get_schema.side_effect": OSError("read timed out"), "get_versions.return_value": [1]})
    monkeypatch.setattr(registry, "_client", client)
    with pytest.raises(RegistryError, match="read timed out") as raised:
        registry.schema_text(4711, "broker.quarantine-value")
    assert not isinstance(raised.value, SchemaNotRegistered)
