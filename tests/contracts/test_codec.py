"""Records in storage form to bytes and back, and what is said about bytes that are no record."""

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_events.native import extension
from broker_events.runtime.events.transcoder import Transcoder
from broker_events.schemas.catalog import Contract, load_catalog
from broker_events.schemas.codec import Codec, DecodeError, EventDecoder, UnknownSchema
from broker_events.schemas.frame import frame
from broker_events.schemas.registry import Registry, SchemaNotRegistered
from broker_events.schemas.storage_types import Header, QuarantinedEvent

CATALOG = load_catalog()
CONTRACT = CATALOG.contracts["quarantined-event"]
CODEC = Codec[QuarantinedEvent](CONTRACT, 9)

some_bytes = st.none() | st.binary()
some_text = st.none() | st.text()
int_64 = st.integers(-(1 << 63), (1 << 63) - 1)
quarantined = st.builds(
    QuarantinedEvent,
    reason=st.text(),
    stage=st.text(),
    detail=some_text,
    pointer=some_text,
    topic=st.text(),
    partition=st.integers(0, (1 << 31) - 1),
    offset=int_64,
    timestamp=st.none() | int_64,
    key=some_bytes,
    value=some_bytes,
    headers=st.lists(st.builds(Header, name=st.text(), value=some_bytes)),
    event_id=some_text,
    biz_type=some_text,
    event_type=some_text,
    worker=st.text(),
    recovered_from=some_text,
    recovery_id=some_text,
)


@given(quarantined)
def test_a_record_survives(record: QuarantinedEvent) -> None:
    value = CODEC.encode(record)
    assert value[:5] == b"\x00\x00\x00\x00\x09" == frame(9)
    assert CODEC.decode(value) == record


def sample() -> QuarantinedEvent:
    return QuarantinedEvent(
        reason="not_json",
        stage="router",
        detail=None,
        pointer=None,
        topic="broker.raw",
        partition=3,
        offset=41,
        timestamp=1_743_231_753_200_962,
        key=b"a",
        value=b"{",
        headers=[{"name": "source", "value": b"file"}],
        event_id=None,
        biz_type=None,
        event_type=None,
        worker="router 0.1.0",
        recovered_from=None,
        recovery_id=None,
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"", "0 bytes"),
        (b"\x00\x00\x00", "3 bytes"),
        (b'{"reason": "not_json"}', "beginning with 0x7b"),
        (frame(8) + CODEC.encode(sample())[5:], "schema id 8, expected 9"),
        (CODEC.encode(sample())[:-4], "cannot be read"),
        (CODEC.encode(sample()) + b"!", "1 bytes follow"),
        (frame(9) + b"\xff" * 40, "cannot be read"),
    ],
)
def test_other_bytes_are_refused(value: bytes, words: str) -> None:
    with pytest.raises(DecodeError, match=words):
        CODEC.decode(value)


def test_a_record_without_a_field_is_refused() -> None:
    record: Any = dict(sample())
    del record["reason"]
    with pytest.raises((ValueError, TypeError)):
        CODEC.encode(record)


def test_records_of_other_versions_are_read() -> None:
    assert CONTRACT.schema is not None
    older = json.loads(json.dumps(CONTRACT.schema))
    older["fields"] = [field for field in older["fields"] if field["name"] != "recovery_id"]
    newer = json.loads(json.dumps(CONTRACT.schema))
    newer["fields"].append({"name": "ticket", "type": ["null", "string"], "default": None, "doc": "A new field."})
    texts = {5: json.dumps(older), 12: json.dumps(newer)}
    asked = []

    def schema_text(schema_id: int) -> str:
        asked.append(schema_id)
        return texts[schema_id]

    def written_by(schema_id: int, schema: Any, record: Any) -> bytes:
        return Codec[Any](replace(CONTRACT, schema=schema), schema_id).encode(record)

    codec = Codec[QuarantinedEvent](CONTRACT, 9, schema_text)
    for _ in range(2):
        assert codec.decode(written_by(5, older, sample())) == sample()
        assert codec.decode(written_by(12, newer, {**sample(), "ticket": "T-1"})) == sample()
        assert codec.decode(codec.encode(sample())) == sample()
    assert asked == [5, 12]


def test_plain_topics_have_no_codec() -> None:
    with pytest.raises(ValueError, match="raw has no schema"):
        Codec[Any](CATALOG.contracts["raw"], 1)


TRANSFER = CATALOG.contracts["transfer"]


def with_type(schema: Any, name: str, avro_type: Any) -> Any:
    fields = [{**field, "type": avro_type} if field["name"] == name else field for field in schema["fields"]]
    return {**schema, "fields": fields}


MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
CHANGED_TYPES = [
    ("amount", "string"),
    ("amount", "bytes"),
    ("amount", {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 8}),
    ("amount", {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 18}),
    ("event_time", MILLIS),
    ("event_time", "int"),
    ("status", "bytes"),
    ("extra", {"type": "map", "values": "bytes"}),
]


@pytest.fixture(params=["native", "python"])
def codec_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr(extension, "native", None)
    else:
        assert extension.native is not None


@pytest.mark.usefixtures("codec_kind")
@pytest.mark.parametrize(("name", "avro_type"), CHANGED_TYPES)
def test_a_writer_with_another_type_is_refused_and_asked_for_once(name: str, avro_type: Any) -> None:
    asked = []

    def schema_text(schema_id: int) -> str:
        asked.append(schema_id)
        return json.dumps(with_type(TRANSFER.schema, name, avro_type))

    codec = Codec[Any](TRANSFER, 9, schema_text)
    for _ in range(3):
        with pytest.raises(DecodeError, match=f"schema id 5: {name} is .*, but .* in this version; "):
            codec.decode(frame(5) + b"whatever it is")
    assert asked == [5]


@pytest.mark.parametrize(("name", "avro_type"), CHANGED_TYPES)
def test_subscribers_are_not_given_another_type(name: str, avro_type: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(with_type(TRANSFER.schema, name, avro_type))
    monkeypatch.setattr(Registry, "schema_text", lambda _, __: text)
    with pytest.raises(DecodeError, match=f"schema id 5: {name} is "):
        EventDecoder("http://127.0.0.1:1").decode(frame(5) + b"x")


def test_an_unknown_schema_is_a_decode_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def schema_text(_: Registry, schema_id: int) -> str:
        raise SchemaNotRegistered(f"no schema {schema_id}")

    monkeypatch.setattr(Registry, "schema_text", schema_text)
    with pytest.raises(UnknownSchema, match="no schema 5"):
        EventDecoder("http://127.0.0.1:1").decode(frame(5) + b"x")
    assert issubclass(UnknownSchema, DecodeError)


def test_a_tombstone_is_none() -> None:
    assert EventDecoder("http://127.0.0.1:1").decode(None) is None


@given(st.sampled_from([one for one in CATALOG.contracts.values() if one.schema is not None]), st.binary(), st.data())
def test_whatever_the_bytes_subscribers_get_a_model_or_a_decode_error(
    contract: Contract, body: bytes, data: st.DataObject
) -> None:
    if contract.biz_type is not None and data.draw(st.booleans()):
        samples = (contract.folder / "samples/accept").glob("documented-*.json")
        sample = next(path for path in samples if not path.name.endswith(".record.json"))
        changed = bytearray(Transcoder(contract, 5).encode(sample.read_bytes())[5:])
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
        body = bytes(changed)
    decoder = EventDecoder("http://127.0.0.1:1")
    with suppress(DecodeError), patch.object(Registry, "schema_text", lambda _, __: str(contract.schema_text)):
        assert decoder.decode(frame(5) + body)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "7",
        '"string"',
        "[]",
        "{}",
        '{"type": "record", "name": "Transfer"}',
        '{"type": "record", "name": "Other", "fields": []}',
        '{"type": "nonsense"}',
    ],
)
def test_whatever_the_schema_subscribers_get_a_decode_error(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "schema_text", lambda _, __: text)
    with pytest.raises(DecodeError, match="schema id 5 is "):
        EventDecoder("http://127.0.0.1:1").decode(frame(5) + b"x")
    with pytest.raises(DecodeError, match="schema id 5"):
        Codec[Any](TRANSFER, 9, lambda _: text).decode(frame(5) + b"x")
