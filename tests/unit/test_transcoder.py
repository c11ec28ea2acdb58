"""From JSON to Avro: what the fast way takes, what it leaves to the plain way, and that both write the same bytes."""

import io
import json
from typing import Any

import fastavro
import pytest
from every_kind import SCHEMA, array, contract, event, field, record

from broker_events.runtime.events.body_hash import body_hash
from broker_events.runtime.events.event_plan import plan_event
from broker_events.runtime.events.event_reader import EventReader, Readable
from broker_events.runtime.events.field_reader import read_record
from broker_events.runtime.events.lossless_json import parse
from broker_events.runtime.events.transcoder import Transcoder
from broker_events.schemas.catalog import ContractError, load_catalog
from broker_events.schemas.invalid_event import InvalidEvent, Reason
from broker_events.schemas.storage_schema import storage_schema

SCHEMA_ID = 0x01020304
STORAGE = fastavro.parse_schema(storage_schema(SCHEMA))


@pytest.fixture
def transcoder() -> Transcoder:
    return Transcoder(contract(), SCHEMA_ID)


@pytest.fixture
def reader() -> EventReader[str]:
    return EventReader([Readable(contract(), SCHEMA_ID, "label")])


def plainly(value: bytes) -> bytes:
    out = io.BytesIO()
    out.write(b"\x00\x01\x02\x03\x04")
    fastavro.schemaless_writer(out, STORAGE, read_record(plan_event(contract()), parse(value).root))
    return out.getvalue()


def dump(made: Any) -> bytes:
    return json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode()


ORDINARY: list[dict[str, Any]] = [
    event(),
    event(account_id=None, account="B", maybe_flag=None, legs=None),
    event(account="", odd="", codes=[], maybe_codes=[], legs=[]),
    event(maybe_flag=True, small=-1, large=-(2**63), amount=5, fee="-0.00", made="2025-03-29T07:02:33Z"),
    event(amount=1.5, fee=1.0, rate=1.50),
    event(amount=None, size="00012.5", codes=["é", "😀" * 100, ""], made="2025-03-29T07:02:33.001Z"),
    event(made="1970-01-01T00:00:00.5Z", legs=[{"legacy_code": "L"}, {"code": "M", "shares": []}]),
    event(legs=[{"code": "L", "shares": [{"of": "x", "rate": "1"}, {"of": "y", "rate": 2}]}] * 3),
    event(codes=['é\n"\\\x7f'], note="é\x7f", count=12, none=None, yes=True, **{"a/b~": -7.5, "é": "", "big": 10**40}),
    event(note="x" * 1_000_000, codes=["x"] * 10_000),
    {**event(), "position": "p", "trace": "t", "version": "1.0"},
]
UNUSUAL: list[dict[str, Any]] = [
    event(account_id="A", account="B"),
    event(account_id="A", account=True),
    event(amount="1", size=1),
    event(note={"a": [1, None]}),
    event(note=[]),
    event(legs=[{"code": "L", "more": 1}]),
    event(account_id="A", account="A"),
    event(made="1969-12-31T23:59:59.5Z"),
    event(made="2025-03-29T07:02:33.123456+0800"),
    event(note="\n"),
    event(**{f"x{number}": number for number in range(33)}),
    event(legs=[{"code": "L", "legacy_code": "L"}]),
]


@pytest.mark.parametrize("made", ORDINARY)
def test_an_ordinary_event_takes_the_fast_way_to_the_same_bytes(
    transcoder: Transcoder, reader: EventReader[str], made: dict[str, Any]
) -> None:
    value = dump(made)
    assert reader.read(value) == ("label", made["id"], plainly(value), 0, False, body_hash(value))
    assert transcoder.encode(value) == plainly(value)
    assert transcoder.duplicate_keys == 0


@pytest.mark.parametrize("made", UNUSUAL)
def test_an_unusual_event_takes_the_plain_way(
    transcoder: Transcoder, reader: EventReader[str], made: dict[str, Any]
) -> None:
    value = dump(made)
    assert reader.read(value) is None
    assert transcoder.encode(value) == plainly(value)


@pytest.mark.parametrize(
    ("payload", "reason", "pointer"),
    [
        ({"flag": 1}, Reason.WRONG_TYPE, "/payload/flag"),
        ({"flag": "true"}, Reason.WRONG_TYPE, "/payload/flag"),
        ({"small": True}, Reason.WRONG_TYPE, "/payload/small"),
        ({"small": 2**31}, Reason.WRONG_TYPE, "/payload/small"),
        ({"large": -(2**63) - 1}, Reason.WRONG_TYPE, "/payload/large"),
        ({"fee": True}, Reason.WRONG_TYPE, "/payload/fee"),
        ({"fee": []}, Reason.WRONG_TYPE, "/payload/fee"),
        ({"fee": "١٢"}, Reason.BAD_AMOUNT, "/payload/fee"),
        ({"fee": "1\n"}, Reason.BAD_AMOUNT, "/payload/fee"),
        ({"fee": 10**20}, Reason.BAD_AMOUNT, "/payload/fee"),
        ({"made": 1}, Reason.WRONG_TYPE, "/payload/made"),
        ({"made": ["2025-03-29T07:02:33Z"]}, Reason.WRONG_TYPE, "/payload/made"),
        ({"made": "2025-03-29T07:02:60Z"}, Reason.BAD_TIME, "/payload/made"),
        ({"made": "2025-03-29T07:02:33.20096٢Z"}, Reason.BAD_TIME, "/payload/made"),
        ({"made": "2025-03-29T07:02:33.200962333z"}, Reason.BAD_TIME, "/payload/made"),
        ({"made": "2025-02-29T07:02:33.200962333Z"}, Reason.BAD_TIME, "/payload/made"),
        ({"odd/": 1, "codes": "AB"}, Reason.WRONG_TYPE, "/payload/codes"),
        ({"codes": {"A": "B"}}, Reason.WRONG_TYPE, "/payload/codes"),
        ({"codes": ["A", ["B"]]}, Reason.WRONG_TYPE, "/payload/codes/1"),
        (
            {"legs": [{"code": "L", "shares": [{"of": 1, "rate": "1"}]}]},
            Reason.WRONG_TYPE,
            "/payload/legs/0/shares/0/of",
        ),
        ({"legs": {}}, Reason.WRONG_TYPE, "/payload/legs"),
        ({"legs": ""}, Reason.WRONG_TYPE, "/payload/legs"),
        ({"legs": ["code"]}, Reason.WRONG_TYPE, "/payload/legs/0"),
        ({"biz_type": ...}, Reason.MISSING_FIELD, "/payload/biz_type"),
    ],
)
def test_nothing_bad_gets_through(
    transcoder: Transcoder, reader: EventReader[str], payload: dict[str, Any], reason: Reason, pointer: str
) -> None:
    value = dump(event(**payload))
    assert reader.read(value) is None
    with pytest.raises(InvalidEvent) as caught:
        transcoder.encode(value)
    assert (caught.value.reason, caught.value.pointer) == (reason, pointer)


def test_an_empty_id_is_refused(transcoder: Transcoder, reader: EventReader[str]) -> None:
    value = dump({**event(), "id": ""})
    assert reader.read(value) is None
    with pytest.raises(InvalidEvent) as caught:
        transcoder.encode(value)
    assert (caught.value.reason, caught.value.pointer) == (Reason.EMPTY_ID, "/id")


@pytest.mark.parametrize("literal", ["1e999", "1E2", "1.10", "-0", "-0.0", "123456789012345678901234567890"])
def test_an_unknown_number_keeps_its_literal(transcoder: Transcoder, reader: EventReader[str], literal: str) -> None:
    value = dump(event(n=0)).replace(b'"n":0', f'"n": {literal} '.encode())
    body = io.BytesIO(transcoder.encode(value)[5:])
    fast = reader.read(value)
    assert fast is not None
    assert fast[2][5:] == body.getvalue()
    assert fastavro.schemaless_reader(body, STORAGE, None)["extra"] == {"/payload/n": literal}  # type: ignore[call-overload, index]


@pytest.mark.parametrize(
    ("value", "duplicates"),
    [
        (dump(event(flag=False)).replace(b'"flag"', b'"flag":false,"flag"'), 1),
        (dump(event()).replace(b'"id"', b'"id":"event_1","id":"event_1","id"'), 2),
        (dump(event(legs=[{"code": "L"}])).replace(b'"code"', b'"code":"L","code"'), 1),
        (dump(event(note="x")).replace(b'"note"', b'"note":{"a":1,"a":2},"note"'), 2),
        (dump(event(remark="x")).replace(b'"remark"', b'"remark":"y","remark":"z","remark"'), 2),
        (dump(event(odd='a:":"b', codes=[":", "::"])), 0),
        (dump(event(made="2025-03-29T07:02:33+08:00")), 0),
        (json.dumps(event(), separators=(" , ", " : ")).encode(), 0),
        (json.dumps(event(odd="a:b"), separators=(" , ", " : ")).encode(), 0),
        (json.dumps(event(), indent=2).encode(), 0),
    ],
)
def test_repeated_keys_are_counted_once_and_nothing_else_is(
    transcoder: Transcoder, reader: EventReader[str], value: bytes, duplicates: int
) -> None:
    fast = reader.read(value)
    assert transcoder.encode(value) == plainly(value)
    assert transcoder.duplicate_keys == duplicates
    assert fast is None or fast[2:] == (plainly(value), duplicates, False, body_hash(value))


@pytest.mark.parametrize(
    ("made", "repeated", "pointer"),
    [
        (event(), '"flag":false,"flag"', "/payload/flag"),
        (event(), '"amount":"1000000.00","amount"', "/payload/amount"),
        (event(), '"amount":1000.00,"amount"', "/payload/amount"),
        (event(), '"amount":null,"amount"', "/payload/amount"),
        (event(account_id="A"), '"account_id":"B","account_id"', "/payload/account_id"),
        (event(account_id="A"), '"\\u0061ccount_id":"B","account_id"', "/payload/account_id"),
        (event(account_id="A", account="B"), '"account":"C","account"', "/payload/account"),
        (event(account_number="A"), '"account_number":"B","account_number"', "/payload/account_number"),
        (event(legs=[{"code": "L"}]), '"code":"M","code"', "/payload/legs/0/code"),
        (event(), '"codes":["A"],"codes"', "/payload/codes"),
        (event(), '"id":"","id"', "/id"),
        (event(), '"event_type":"","event_type"', "/event_type"),
        (event(), '"timestamp":"2025-03-29T07:02:33Z","timestamp"', "/timestamp"),
        (event(), '"payload":{},"payload"', "/payload"),
    ],
)
def test_two_values_of_a_member_that_is_read_are_refused(
    transcoder: Transcoder, reader: EventReader[str], made: dict[str, Any], repeated: str, pointer: str
) -> None:
    name = repeated.rpartition(",")[2]
    value = dump(made).replace(name.encode() + b":", repeated.encode() + b":", 1)
    assert reader.read(value) is None
    with pytest.raises(InvalidEvent) as caught:
        transcoder.encode(value)
    assert (caught.value.reason, caught.value.pointer) == (Reason.DUPLICATE_KEY, pointer)


@pytest.mark.parametrize(
    "hidden",
    [b'"\\q"', b"[1,]", b"{1}", b"[[}]", b"01", b"nul", b'"\x01"', b'"\xff"'],
)
def test_a_hidden_member_has_to_be_json_too(transcoder: Transcoder, reader: EventReader[str], hidden: bytes) -> None:
    value = dump(event()).replace(b'"flag"', b'"fee":' + hidden + b',"fee":"1","flag"')
    assert reader.read(value) is None
    with pytest.raises(InvalidEvent):
        transcoder.encode(value)


@pytest.mark.parametrize(
    "text",
    ["9999-12-31T23:59:59.999999999Z", "1970-01-01T00:00:00Z", "2000-02-29T00:02:14.217728Z", "2100-03-01T00:00:00Z"],
)
def test_times_at_the_edges(reader: EventReader[str], text: str) -> None:
    value = dump(event(made=text))
    assert reader.read(value) == ("label", "event_1", plainly(value), 0, False, body_hash(value))


def test_an_event_nested_too_deeply_is_refused(transcoder: Transcoder, reader: EventReader[str]) -> None:
    deep = dump(event(deep=0)).replace(b'"deep":0', b'"deep":' + b"[" * 995 + b"]" * 995)
    assert reader.read(deep) is None
    with pytest.raises(InvalidEvent) as caught:
        transcoder.encode(deep)
    assert caught.value.reason is Reason.TOO_DEEP


@pytest.mark.parametrize(
    ("avro_type", "origin"),
    [
        ("double", None),
        ({"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}, None),
        (array("long"), None),
        (record("Inner", field("a", "string")), None),
        ("string", "/payload"),
        ("string", "/payload/a/b"),
        ("string", "/a/b"),
        ("string", ["/payload/a", ""]),
    ],
)
def test_a_schema_that_events_cannot_have_is_refused_at_the_start(avro_type: Any, origin: Any) -> None:
    schema = {**SCHEMA, "fields": [*SCHEMA["fields"], field("bad", avro_type, origin)]}
    with pytest.raises(ContractError, match="bad"):
        Transcoder(contract(schema), SCHEMA_ID)


def test_a_contract_without_a_schema_has_no_transcoder() -> None:
    with pytest.raises(ContractError, match="missing"):
        Transcoder(load_catalog().contracts["raw"], SCHEMA_ID)


@pytest.mark.parametrize(
    ("value", "traced"),
    [
        (dump(event() | {"traceparent": "00-1-2-3"}), True),
        (dump(event() | {"simulated": True}), True),
        (dump(event(traceparent="00-1-2-3")), False),
        (dump(event(simulated=True)), False),
        (dump(event(odd="traceparent")), False),
    ],
)
def test_headers_to_keep_are_noticed_in_the_envelope(reader: EventReader[str], value: bytes, *, traced: bool) -> None:
    assert reader.read(value) == ("label", "event_1", plainly(value), 0, traced, body_hash(value))
