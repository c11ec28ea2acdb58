"""The transcoder: what the compiled way takes, what it leaves to the plain way, and that both write the same bytes."""

import io
import json
from typing import Any

import fastavro
import pytest
from every_kind import SCHEMA, array, contract, event, field, record

from schemas import avro_pieces
from schemas.catalog import ContractError, load_catalog
from schemas.envelope import parse_event
from schemas.event_plan import plan_event
from schemas.exact_json import parse
from schemas.invalid_event import InvalidEvent, Reason
from schemas.plain import read_record
from schemas.storage_schema import storage_schema
from schemas.times import parse_time
from schemas.transcoder import Transcoder

SCHEMA_ID = 0x01020304
STORAGE = fastavro.parse_schema(storage_schema(SCHEMA))


class Watched(Transcoder):
    """Counts the events that go the plain way, and those whose members are counted anew."""

    plain = 0
    recounted = 0

    def _encode_plainly(self, value: bytes) -> bytes:
        self.plain += 1
        return super()._encode_plainly(value)

    def _recount(self, value: bytes, members: int) -> None:
        self.recounted += 1
        super()._recount(value, members)


@pytest.fixture
def transcoder() -> Watched:
    return Watched(contract(), SCHEMA_ID)


def plainly(value: bytes) -> bytes:
    out = io.BytesIO()
    out.write(b"\x00\x01\x02\x03\x04")
    fastavro.schemaless_writer(out, STORAGE, read_record(plan_event(contract()), parse(value).root))
    return out.getvalue()


def dump(made: Any) -> bytes:
    return json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode()


ORDINARY: list[dict[str, Any]] = [
    event(),
    event(account_id="A", account="A"),
    event(account_id=None, account="B", maybe_flag=None, legs=None),
    event(account="", odd="", codes=[], maybe_codes=[], legs=[]),
    event(maybe_flag=True, small=-1, large=-(2**63), amount=5, fee="-0.00", made="2025-03-29T07:02:33Z"),
    event(amount=None, size="00012.5", codes=["é", "😀" * 100, ""], made="2025-03-29T07:02:33.001Z"),
    event(made="1969-12-31T23:59:59.5Z", legs=[{"code": "L", "at": "1970-01-01T00:00:00Z"}]),
    event(made="2025-03-29T07:02:33.123456+0800", legs=[{"legacy_code": "L"}, {"code": "M", "shares": []}]),
    event(legs=[{"code": "L", "shares": [{"of": "x", "rate": "1"}, {"of": "y", "rate": 2}]}] * 3),
    event(note='é\n"\\\x7f', count=12, none=None, yes=True, no=False, zero=0, **{"a/b~": -7, "é": ""}),
    {**event(), "position": "p", "trace": "t", "version": "1.0"},
]
UNUSUAL: list[dict[str, Any]] = [
    event(account_id="A", account="B"),
    event(account_id="A", account=True),
    event(amount="1", size=1),
    event(amount=1.5),
    event(fee=1.0),
    event(rate=1.50),
    event(note={"a": [1, None]}),
    event(note=[]),
    event(legs=[{"code": "L", "more": 1}]),
    event(odd="x" * 1_000_000),
    event(codes=["x"] * 10_000),
    event(big=2**64, bigger=10**40),
]


@pytest.mark.parametrize("made", ORDINARY)
def test_an_ordinary_event_takes_the_compiled_way_to_the_same_bytes(transcoder: Watched, made: dict[str, Any]) -> None:
    value = dump(made)
    assert transcoder.encode(parse_event(value), value) == plainly(value)
    assert (transcoder.plain, transcoder.recounted, transcoder.duplicate_keys) == (0, 0, 0)


@pytest.mark.parametrize("made", UNUSUAL)
def test_an_unusual_event_takes_the_plain_way(transcoder: Watched, made: dict[str, Any]) -> None:
    value = dump(made)
    assert transcoder.encode(parse_event(value), value) == plainly(value)
    assert transcoder.plain == 1


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
def test_the_compiled_way_lets_nothing_bad_through(
    transcoder: Watched, payload: dict[str, Any], reason: Reason, pointer: str
) -> None:
    for text in ("1", 1):  # what a cache keeps of a good value must not stand for a bad one
        value = dump(event(fee=text, amount=text))
        transcoder.encode(parse_event(value), value)
    value = dump(event(**payload))
    for _ in range(2):
        with pytest.raises(InvalidEvent) as caught:
            transcoder.encode(parse_event(value), value)
        assert (caught.value.reason, caught.value.pointer) == (reason, pointer)


def test_an_empty_id_is_refused_even_without_the_envelope_check(transcoder: Watched) -> None:
    made = {**event(), "id": ""}
    with pytest.raises(InvalidEvent) as caught:
        transcoder.encode(made, dump(made))
    assert (caught.value.reason, caught.value.pointer) == (Reason.EMPTY_ID, "/id")


@pytest.mark.parametrize("literal", ["1e999", "1E2", "1.10", "-0", "-0.0", "123456789012345678901234567890"])
def test_an_unknown_number_keeps_its_literal(transcoder: Watched, literal: str) -> None:
    value = dump(event(n=0)).replace(b'"n":0', f'"n": {literal} '.encode())
    body = io.BytesIO(transcoder.encode(parse_event(value), value)[5:])
    assert fastavro.schemaless_reader(body, STORAGE, None)["extra"] == {"/payload/n": literal}  # type: ignore[call-overload, index]


@pytest.mark.parametrize(
    ("value", "duplicates"),
    [
        (dump(event(flag=False)).replace(b'"flag"', b'"flag":true,"flag"'), 1),
        (dump(event()).replace(b'"id"', b'"id":"","id":null,"id"'), 2),
        (dump(event(legs=[{"code": "L"}])).replace(b'"code"', b'"code":1,"code"'), 1),
        (dump(event(made="soon")).replace(b'"made"', b'"made":{"a":1,"a":2},"made"').replace(b"soon", b""), 2),
        (dump(event(odd='a:":"b', codes=[":", "::"])), 0),
        (dump(event(made="2025-03-29T07:02:33+08:00")), 0),
        (json.dumps(event(), separators=(" , ", " : ")).encode(), 0),
        (json.dumps(event(odd="a:b"), separators=(" , ", " : ")).encode(), 0),
        (json.dumps(event(), indent=2).encode(), 0),
    ],
)
def test_repeated_keys_are_counted_once_and_nothing_else_is(transcoder: Watched, value: bytes, duplicates: int) -> None:
    try:
        assert transcoder.encode(parse_event(value), value) == plainly(value)
    except InvalidEvent as problem:
        assert problem.reason is Reason.BAD_TIME  # noqa: PT017  (one of the cases)
    assert transcoder.duplicate_keys == duplicates


def test_full_caches_start_anew(transcoder: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avro_pieces, "_CACHED", 3)
    for number in range(30):
        value = dump(event(amount=f"{number}.5", made=f"20{number:02}-01-01T00:{number:02}:00Z", **{f"x{number}": 1}))
        assert transcoder.encode(parse_event(value), value) == plainly(value)
    assert transcoder.plain == 0


@pytest.mark.parametrize(
    "text", ["9999-12-31T23:59:59.999999999Z", "1970-01-01T00:02:14.217727Z", "1970-01-01T00:02:14.217728Z"]
)
def test_times_at_the_edges_of_the_table(text: str) -> None:
    assert avro_pieces.time(text) == avro_pieces.long(parse_time(text))


def test_an_event_nested_too_deeply_is_refused(transcoder: Watched) -> None:
    deep = dump(event(deep=0)).replace(b'"deep":0', b'"deep":' + b"[" * 995 + b"]" * 995)
    with pytest.raises(InvalidEvent) as caught:
        transcoder.encode(json.loads(dump(event(deep=[]))), deep)
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
