"""The codec against fastavro: the same bytes, the same records, for every contract."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.codec import Codec, DecodeError
from broker_events.schemas.frame import FRAME_BYTES
from broker_events.schemas.storage_schema import storage_schema

CONTRACTS = [contract for contract in load_catalog().contracts.values() if contract.schema is not None]
# Around the borders of one byte, of the length table, of a time in microseconds, of 64 bits.
LONGS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-300, 300),
    st.integers(8180, 8200),
    st.integers(2**48, 2**56),
)
STRINGS = st.one_of(st.text(max_size=80), st.sampled_from(["", "é" * 4096, "x" * 8191, "x" * 8192, "\x00"]))


def values(schema: Any, named: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:  # noqa: C901, PLR0911 (a table of shapes)
    """Strategy of storage-form values of a schema."""
    match schema:
        case "string":
            return STRINGS
        case "bytes":
            return st.binary(max_size=200)
        case "long":
            return LONGS
        case "int":
            return st.integers(-(2**31), 2**31 - 1)
        case "boolean":
            return st.booleans()
        case ["null", branch]:
            return st.none() | values(branch, named)
        case {"type": "array", "items": items}:
            return st.lists(values(items, named), max_size=4)
        case {"type": "map", "values": entry}:
            return st.dictionaries(st.text(max_size=12), values(entry, named), max_size=4)
        case {"type": "record"}:
            fields = {field["name"]: values(field["type"], named) for field in schema["fields"]}
            named[schema["name"]] = st.fixed_dictionaries(fields)
            return named[schema["name"]]
        case str(name):
            return named[name]
    raise AssertionError(schema)


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
def test_writes_and_reads_what_fastavro_does(contract: Any) -> None:
    schema = storage_schema(contract.schema)
    parsed = fastavro.parse_schema(schema)
    codec: Codec[Any] = Codec(contract, 7)

    @settings(max_examples=60)
    @given(values(schema, {}))
    def law(record: Any) -> None:
        body = io.BytesIO()
        fastavro.schemaless_writer(body, parsed, record)
        value = codec.encode(record)
        assert value == b"\x00\x00\x00\x00\x07" + body.getvalue()
        assert codec.decode(value) == record
        assert fastavro.schemaless_reader(io.BytesIO(body.getvalue()), parsed) == record

    law()


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
def test_the_native_way_is_the_usual_one(contract: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    record = ordinary(storage_schema(contract.schema), {})
    codec: Codec[Any] = Codec(contract, 7)

    def refuse(*_: object) -> None:
        raise AssertionError("an ordinary record took the slow way")

    monkeypatch.setattr(codec, "_encode_in_python", refuse)
    monkeypatch.setattr(codec, "_decode_in_python", refuse)
    assert codec.decode(codec.encode(record)) == record


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
def test_refuses_what_is_cut_off_or_too_long(contract: Any) -> None:
    codec: Codec[Any] = Codec(contract, 7)
    value = codec.encode(ordinary(storage_schema(contract.schema), {}))
    for end in range(FRAME_BYTES, len(value)):
        with pytest.raises(DecodeError):
            codec.decode(value[:end])
    with pytest.raises(DecodeError):
        codec.decode(value + b"\x00")


def ordinary(schema: Any, named: dict[str, Any]) -> Any:  # noqa: C901, PLR0911 (a table of shapes)
    """A record without nulls, as most are."""
    match schema:
        case "string":
            return "text"
        case "bytes":
            return b"\x01\x02"
        case "long":
            return 1_743_231_753_200_962
        case "int":
            return 5
        case "boolean":
            return True
        case ["null", branch]:
            return ordinary(branch, named)
        case {"type": "array", "items": items}:
            return [ordinary(items, named)]
        case {"type": "map", "values": entry}:
            return {"key": ordinary(entry, named)}
        case {"type": "record"}:
            named[schema["name"]] = {field["name"]: ordinary(field["type"], named) for field in schema["fields"]}
            return named[schema["name"]]
        case str(name):
            return named[name]
    raise AssertionError(schema)
