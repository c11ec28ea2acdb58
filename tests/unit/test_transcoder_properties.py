"""For any event of any contract: what goes in comes out, to the last digit, on both ways."""

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

import fastavro
import pytest
from every_kind import contract as every_kind
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_events.runtime.consume.record import KEPT
from broker_events.runtime.events.body_hash import body_hash
from broker_events.runtime.events.event_plan import FieldKind, FieldPlan, Holder, RecordPlan, plan_event
from broker_events.runtime.events.event_reader import EventReader, Readable
from broker_events.runtime.events.field_reader import read_record
from broker_events.runtime.events.lossless_json import parse
from broker_events.runtime.events.pushed_event import check_envelope, parse_event
from broker_events.runtime.events.transcoder import Transcoder
from broker_events.schemas.catalog import Contract, load_catalog
from broker_events.schemas.invalid_event import InvalidEvent
from broker_events.schemas.storage_schema import storage_schema

SCHEMA_ID = 7
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EXACT = Context(prec=60)
CONTRACTS = [every_kind(), *load_catalog().events.values()]
# The broker's contracts are made of a part of the same kinds.
EXAMPLES = {contract.name: 100 if contract.name == "every-kind" else 25 for contract in CONTRACTS}
PLANS = {contract.name: plan_event(contract) for contract in CONTRACTS}
TRANSCODERS = {contract.name: Transcoder(contract, SCHEMA_ID) for contract in CONTRACTS}
READERS = {contract.name: EventReader([Readable(contract, SCHEMA_ID, contract.name)]) for contract in CONTRACTS}
LOGICAL = {contract.name: fastavro.parse_schema(contract.schema) for contract in CONTRACTS if contract.schema}
STORAGE = {contract.name: fastavro.parse_schema(storage_schema(contract.schema)) for contract in CONTRACTS}


class Literal(str):
    """JSON text to be written as it is."""

    __slots__ = ()


def dump(value: Any) -> str:
    if isinstance(value, Literal):
        return value
    if isinstance(value, list):
        return "[" + ",".join(map(dump, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{dump(member)}" for name, member in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
signs = st.sampled_from(["", "-"])
digits = "0123456789"
fractions = st.one_of(st.just(""), st.text(digits, min_size=1, max_size=18).map(".{}".format))
decimals = st.builds("{}{}{}".format, signs, st.integers(0, 10**20 - 1), fractions)
amounts = decimals.flatmap(lambda text: st.sampled_from([text, Literal(text)]))
moments = st.builds(
    "{:%Y-%m-%dT%H:%M:%S}{}{}".format,
    st.datetimes(min_value=datetime(1000, 1, 2), max_value=datetime(9999, 12, 30)),  # noqa: DTZ001  (no offset yet)
    st.one_of(
        st.just(""), st.text(digits, min_size=1, max_size=9).map(".{}".format), st.just(".123"), st.just(".123456789")
    ),
    st.sampled_from(["Z", "Z", "Z", "+08:00", "-0530", "+00:00", "-23:59"]),
)
numbers = st.sampled_from(["0", "-0", "1.50", "1e999", "-2E-5", "12345678901234567890123", "7"]).map(Literal)
scalars = st.one_of(st.none(), st.booleans(), texts, numbers)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=5
)
unknown_members = st.one_of(
    st.just({}),
    st.dictionaries(texts.map("?{}".format), scalars, max_size=2),
    st.dictionaries(texts.map("?{}".format), values, max_size=2),
)


def of_field(field: FieldPlan) -> st.SearchStrategy[Any]:  # noqa: PLR0911  (a kind each)
    match field.kind:
        case FieldKind.STRING:
            return texts.filter(bool) if field.is_event_id else texts
        case FieldKind.BOOLEAN:
            return st.booleans()
        case FieldKind.INT:
            return st.integers(-(2**31), 2**31 - 1)
        case FieldKind.LONG:
            return st.integers(-(2**63), 2**63 - 1)
        case FieldKind.TIME:
            return moments
        case FieldKind.AMOUNT:
            return amounts
        case FieldKind.STRINGS:
            return st.lists(texts, max_size=3)
    assert field.items
    return st.lists(members(field.items, Holder.ITEM), max_size=3)


@st.composite
def members(draw: st.DrawFn, plan: RecordPlan, holder: Holder) -> dict[str, Any]:
    """One JSON object with what the plan reads from it (nullable fields may be missing or null) and unknown members."""
    made: dict[str, Any] = {}
    for field in sorted(plan.fields, key=lambda field: field.kind is not FieldKind.TIME):  # a time also gives its text
        for source in field.sources:
            if source.holder is holder and source.member not in made:
                if not field.nullable and source is field.sources[0]:
                    made[source.member] = draw(of_field(field))
                elif field.nullable:
                    made[source.member] = draw(st.one_of(st.just(...), st.none(), of_field(field)))
    made = {name: value for name, value in made.items() if value is not ...}
    made.update({name: value for name, value in draw(unknown_members).items() if name not in plan.known[holder]})
    return dict(draw(st.permutations(list(made.items()))))


@st.composite
def events(draw: st.DrawFn, contract: Contract) -> dict[str, Any]:
    envelope = draw(members(PLANS[contract.name], Holder.ENVELOPE))
    return {**envelope, "payload": draw(members(PLANS[contract.name], Holder.PAYLOAD))}


def decode(name: str, value: bytes, schemas: dict[str, Any]) -> dict[str, Any]:
    body = io.BytesIO(value[5:])
    record: Any = fastavro.schemaless_reader(body, schemas[name], None)
    assert body.read() == b""
    return dict(record)


def moment(text: str) -> datetime:
    """The time by the standard library, which reads six digits of the fraction and leaves the rest."""
    return datetime.fromisoformat(text).astimezone(UTC)


def expected(plan: RecordPlan, holders: dict[Holder, dict[str, Any]]) -> dict[str, Any]:
    """The record with datetimes and Decimals, by other means than the code under test."""
    record: dict[str, Any] = {}
    for field in plan.fields:
        found = [holders[source.holder].get(source.member) for source in field.sources]
        value = next((value for value in found if value is not None), None)
        if value is not None and field.kind is FieldKind.AMOUNT:
            value = EXACT.create_decimal(str(value)).quantize(Decimal("1e-18"), context=EXACT)
        elif value is not None and field.kind is FieldKind.TIME:
            value = moment(value)
        elif value is not None and field.items:
            value = [expected(field.items, {Holder.ITEM: item}) for item in value]
        record[field.name] = value
    return record


def unread(made: dict[str, Any], base: str, known: frozenset[str]) -> Iterator[tuple[str, str]]:
    for name, value in made.items():
        if name not in known:
            pointer = name.replace("~", "~0").replace("/", "~1")
            yield f"{base}/{pointer}", dump(value)


def normal(text: str) -> Any:
    """JSON text as a value with numbers by their literals, to compare texts that escape differently."""
    return json.loads(
        text, parse_int=lambda literal: ("number", literal), parse_float=lambda literal: ("number", literal)
    )


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
def test_what_goes_in_comes_out_and_both_ways_agree(contract: Contract) -> None:
    name, plan = contract.name, PLANS[contract.name]

    @settings(max_examples=EXAMPLES[name])
    @given(events(contract))
    def check(event: dict[str, Any]) -> None:
        value = dump(event).encode()
        typed = TRANSCODERS[name].encode(value)
        fast = READERS[name].read(value)
        assert fast is None or fast == (
            name,
            event["id"],
            typed,
            0,
            any(name in event for name in KEPT),
            body_hash(value),
        )

        plain = read_record(plan, check_envelope(parse(value).root))
        out = io.BytesIO()
        out.write(b"\x00" + SCHEMA_ID.to_bytes(4, "big"))
        fastavro.schemaless_writer(out, STORAGE[name], plain)
        assert typed == out.getvalue()
        assert decode(name, typed, STORAGE) == plain

        record = decode(name, typed, LOGICAL)
        extra = record.pop("extra")
        assert record == expected(plan, {Holder.ENVELOPE: event, Holder.PAYLOAD: event["payload"]})
        for pointer, text in [
            *unread(event, "", plan.known[Holder.ENVELOPE]),
            *unread(event["payload"], "/payload", plan.known[Holder.PAYLOAD]),
        ]:
            assert normal(extra[pointer]) == normal(text)

    check()


@st.composite
def mutated(draw: st.DrawFn, contract: Contract) -> bytes:
    """An event with one to three members, anywhere, that are replaced, removed or doubled; or with broken bytes."""
    event = draw(events(contract))
    for _ in range(draw(st.integers(1, 3))):
        holder: Any = event
        while True:
            inner = [
                value
                for value in (holder.values() if isinstance(holder, dict) else holder)
                if value and type(value) in (dict, list)
            ]
            if not inner or draw(st.booleans()):
                break
            holder = draw(st.sampled_from(inner))
        if not holder:
            continue
        place = draw(st.sampled_from(list(holder) if isinstance(holder, dict) else range(len(holder))))
        if draw(st.booleans()):
            holder[place] = draw(
                st.one_of(values, amounts, moments, st.sampled_from([True, 1, "1", [], {}, "x" * 9000]))
            )
        else:
            del holder[place]
    value = dump(event).encode()
    if draw(st.integers(0, 3)) == 0:
        start = draw(st.integers(0, len(value)))
        return value[:start] + draw(st.binary(max_size=3)) + value[start + draw(st.integers(0, 2)) :]
    return value


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
def test_a_mutated_event_is_refused_with_a_reason_or_read_alike_by_both_ways(contract: Contract) -> None:
    name = contract.name

    @settings(max_examples=EXAMPLES[name])
    @given(mutated(contract))
    def check(value: bytes) -> None:
        fast = READERS[name].read(value)
        try:
            hidden = parse_event(value).duplicate_keys
            typed = TRANSCODERS[name].encode(value)
        except InvalidEvent as problem:
            assert problem.detail  # noqa: PT017  (it need not be raised)
            assert fast is None
        else:
            assert fast is None or fast[2:4] == (typed, hidden)

    check()


@given(st.binary(max_size=40) | texts.map(str.encode) | values.map(dump).map(str.encode))
def test_bytes_of_any_kind_are_an_event_or_refused_with_a_reason(value: bytes) -> None:
    try:
        assert isinstance(parse_event(value).root["payload"], dict)
    except InvalidEvent as problem:
        assert problem.detail  # noqa: PT017  (it need not be raised)


@given(moments)
def test_a_time_is_at_most_a_microsecond_before_its_text(text: str) -> None:
    name = "every-kind"
    value = dump(
        {
            "id": "1",
            "event_type": "T",
            "timestamp": text,
            "payload": {"biz_type": "B", "flag": True, "amount": "1", "codes": []},
        }
    ).encode()
    typed = TRANSCODERS[name].encode(value)
    stored = EPOCH + timedelta(microseconds=decode(name, typed, STORAGE)["event_time"])
    assert stored == moment(text)
