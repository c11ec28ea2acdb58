"""Native code and the Python path make the same raw record, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker_events.ingest.raw_record import RawRecord, to_raw
from broker_events.ingest.sources.source import Received
from broker_events.native import extension
from broker_events.schemas.catalog import load_catalog

AT = 1_767_225_600_000_001
EVENTS = load_catalog().events.values()
PATHS = (path for one in EVENTS for path in one.folder.glob("samples/accept/*.json"))
SAMPLES = [path.read_bytes() for path in PATHS if not path.name.endswith(".record.json")]
CHANGES = [b"", b'"', b"\\", b"}", b"{", b",", b"\xff", b"\0", b"1", b"e"]

pytestmark = pytest.mark.skipif(extension.native is None, reason="native code was not compiled")


@contextmanager
def plainly() -> Iterator[None]:
    native, extension.native = extension.native, None  # type: ignore[assignment]
    try:
        yield
    finally:
        extension.native = native


def made_plainly(received: Received) -> RawRecord:
    with plainly():
        return to_raw(received, "grpc")


def is_taken(received: Received) -> bool:
    return extension.native.raw_record(received.payload, received[2:7], "grpc", "now", received.simulated) is not None


def inner(sample: bytes) -> bytes:
    return json.dumps(json.loads(sample)["payload"]).encode()


NAMES = (
    "id event_type position traceparent simulated payload biz_type "
    "account_id account account_number client_request_id amount"
)
ODD_LITERALS = r"""1e999 -0 01 1. nul "\ud800" "\x" "\u00e9" "\/" [1,] [{"a":1},{}]"""
names = st.sampled_from([*NAMES.split(), "", "\\", '"', "ä"])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(["", "😀", "\x7f", "a/b"])
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
literals = st.sampled_from([*ODD_LITERALS.split(), "1" * 70, "[" * 40 + "]" * 40])
written = st.one_of(scalars.map(json.dumps), scalars.map(lambda one: json.dumps(one, ensure_ascii=False)), literals)
spaces = st.sampled_from(["", " ", "\n", "\t", "\r\n"])


@st.composite
def objects(draw: st.DrawFn, depth: int = 2) -> str:
    """JSON objects and what is nearly so, with repeated and escaped names."""
    members = []
    for _ in range(draw(st.integers(0, 6))):
        value = draw(objects(depth - 1)) if depth and draw(st.booleans()) else draw(written)
        name = json.dumps(draw(names), ensure_ascii=draw(st.booleans()))
        members.append(f"{name}{draw(spaces)}:{draw(spaces)}{value}{draw(spaces)}")
    return "{" + draw(spaces) + ",".join(members) + "}" + draw(spaces)


@settings(max_examples=500)
@given(text=objects(), fields=st.tuples(texts, texts, texts, texts, texts), simulated=st.booleans())
@example(
    text='{"event_type":"A","payload":{"account":1,"account_number":"N"}}',
    fields=("e", "", "", "", ""),
    simulated=False,
)
@example(text='{"payload":{"a":1},"biz_type":"B"}', fields=("e", "T", "p", "t", "v"), simulated=True)
@example(text='{"id":"a","id":"b","event_type":"A","payload":{}}', fields=("", "", "", "", ""), simulated=True)
@example(text='\ufeff{"event_type":"A","payload":{}}', fields=("", "T", "", "", ""), simulated=True)
def test_whatever_comes(text: str, fields: tuple[str, str, str, str, str], *, simulated: bool) -> None:
    received = Received(text.encode("utf-8", "surrogatepass"), AT, *fields, simulated=simulated)
    assert to_raw(received, "grpc") == made_plainly(received)


@settings(max_examples=300)
@given(number=st.integers(0, 10**9))
def test_changed_bytes(number: int) -> None:
    random = Random(number)  # noqa: S311 (reproducible on purpose)
    sample = random.choice(SAMPLES)
    value = bytearray(sample if random.random() < 0.5 else inner(sample))
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(value))
        value[at : at + random.randint(0, 2)] = random.choice(CHANGES)
    received = Received(bytes(value), AT, "e1", random.choice(["", "FUNDING"]), "p1", "t", "")
    assert to_raw(received, "grpc") == made_plainly(received)


@pytest.mark.parametrize("sample", SAMPLES)
def test_documented_events_are_taken(sample: bytes) -> None:
    for payload in (sample, inner(sample)):
        received = Received(payload, AT, "e1", "FUNDING", "p1", "2026-01-01T00:00:00Z", "1")
        for one in (received, received._replace(simulated=True)):
            assert is_taken(one)
            assert to_raw(one, "grpc") == made_plainly(one)


@pytest.mark.parametrize(
    "fields",
    [{"event_id": "\ud800"}, {"event_type": 'a"b'}, {"version": "\\"}, {"timestamp": "\n"}, {"position": "\x7f"}],
)
def test_fields_that_need_escapes(fields: dict[str, Any]) -> None:
    payload = b'{"biz_type":"B"}'
    received = Received(payload, AT, "e1", "FUNDING", "p1", "t", "v")._replace(**fields)
    assert not is_taken(received)
