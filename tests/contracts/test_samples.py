"""Every sample event, read as the pipeline reads it."""

import io
import json
from collections import Counter
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest

from broker_events.native import extension
from broker_events.processors.routing import Route, find_route
from broker_events.runtime.events.account_key import KEY_MEMBERS, account_member, missing_key
from broker_events.runtime.events.event_reader import EventReader, Readable
from broker_events.runtime.events.pushed_event import parse_event
from broker_events.runtime.events.transcoder import Transcoder
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.codec import Codec
from broker_events.schemas.invalid_event import InvalidEvent, Reason
from broker_events.schemas.models import RECORDS

SCHEMA_ID = 258
CATALOG = load_catalog()
EVENTS = next(iter(CATALOG.events.values())).folder.parent
ACCEPTED = sorted(path for path in EVENTS.glob("*/samples/accept/*.json") if not path.name.endswith(".record.json"))
REJECTED = sorted(EVENTS.glob("*/samples/reject/*.json"))
ROUTES = {
    biz_type: Route(
        biz_type,
        str(contract.event_type),
        contract.topics[0].name,
        Transcoder(contract, SCHEMA_ID),
        contract.account_key,
    )
    for biz_type, contract in CATALOG.events.items()
}
READER = EventReader(Readable(contract, SCHEMA_ID, ROUTES[biz_type]) for biz_type, contract in CATALOG.events.items())

# How many events of each kind the broker's five documents show.
DOCUMENTED = {
    "ACCOUNT_UPDATE": 1,
    "VIRTUAL_ACCOUNT_BCAN_UPDATE": 2,
    "ACCOUNT_INFO_UPDATE": 2,
    "ACCOUNT_RESTRICT": 1,
    "ACCOUNT_UNRESTRICTED": 1,
    "ACCOUNT_CLOSE": 2,
    "FEE_DEDUCTION": 4,
    "CREDIT": 4,
    "INSTANT_FUNDING": 8,
    "INSTANT_EXCHANGE": 4,
    "EXCHANGE": 4,
    "TRANSFER": 4,
}
# What no sample can show: an absent value, one of a megabyte, a second body of an id, an event of a kind without a
# folder, typed records that cannot be read, and records that Kafka refuses.
NOT_IN_A_SAMPLE = {
    Reason.NO_VALUE,
    Reason.TOO_LARGE,
    Reason.ID_CONFLICT,
    Reason.UNKNOWN_BIZ_TYPE,
    Reason.UNDECODABLE,
    Reason.INTERNAL_ERROR,
    Reason.REFUSED,
}


def name(path: Path) -> str:
    return path.relative_to(EVENTS).as_posix()


def read(value: bytes) -> tuple[Route, bytes]:
    """Read an event to its route and record, both ways. Raises `InvalidEvent` as the router would quarantine it."""
    fast = READER.read(value)
    event = parse_event(value).root
    route = find_route(event, ROUTES)
    typed = route.transcoder.encode(value)
    assert fast is None or fast[:3] == (route, event["id"], typed)
    members = route.account_key or KEY_MEMBERS
    if account_member(event["payload"], members) is None:
        raise missing_key(event["payload"], members)
    return route, typed


def plain(value: Any) -> Any:
    """Turn what fastavro reads into the form of the .record.json files."""
    if isinstance(value, dict):
        return {key: plain(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return value


@pytest.mark.parametrize("path", ACCEPTED, ids=name)
def test_accepted_event_becomes_its_record(path: Path) -> None:
    contract = CATALOG.contracts[path.parents[2].name]
    expected = json.loads(path.with_suffix(".record.json").read_text(encoding="utf-8"))

    route, typed = read(path.read_bytes())

    assert route.topic == contract.topics[0].name
    assert typed[:5] == b"\x00\x00\x00\x01\x02"
    assert contract.schema is not None
    body = io.BytesIO(typed[5:])
    record = fastavro.schemaless_reader(body, fastavro.parse_schema(contract.schema), None)
    assert body.read() == b""
    assert plain(record) == expected


@pytest.mark.parametrize("path", ACCEPTED, ids=name)
def test_record_is_the_same_as_model_and_in_storage_form(path: Path) -> None:
    contract = CATALOG.contracts[path.parents[2].name]
    assert contract.schema is not None
    expected = json.loads(path.with_suffix(".record.json").read_text(encoding="utf-8"))
    _, typed = read(path.read_bytes())

    codec = Codec[Any](contract, SCHEMA_ID)
    assert codec.encode(codec.decode(typed)) == typed

    record = fastavro.schemaless_reader(io.BytesIO(typed[5:]), fastavro.parse_schema(contract.schema), None)
    model = RECORDS[f"{contract.schema['namespace']}.{contract.schema['name']}"].model_validate(record)
    assert plain(model.model_dump()) == expected


@pytest.mark.parametrize("path", REJECTED, ids=name)
def test_rejected_event_has_its_reason(path: Path) -> None:
    expected = Reason(path.name.partition("--")[0])
    with pytest.raises(InvalidEvent) as raised:
        read(path.read_bytes())
    assert raised.value.reason == expected, raised.value


@pytest.mark.parametrize("path", [path for path in ACCEPTED if path.name.startswith("documented-")], ids=name)
def test_documented_events_take_the_fast_way(path: Path) -> None:
    assert extension.native is not None, "the native part is missing: install Rust, then make clean test"
    assert READER.read(path.read_bytes()) is not None


def test_documented_events_are_all_there() -> None:
    found = Counter(path.parents[2].name for path in ACCEPTED if path.name.startswith("documented-"))
    assert {
        contract.biz_type: found[contract.name] for contract in CATALOG.events.values()
    }.items() >= DOCUMENTED.items()
    assert found.total() == 37


def test_documented_quirks_are_kept() -> None:
    texts = {name(path): path.read_text(encoding="utf-8") for path in ACCEPTED if path.name.startswith("documented-")}
    fees = [json.loads(text)["payload"] for key, text in texts.items() if key.startswith("fee-deduction/")]
    transfers = [json.loads(text)["payload"] for key, text in texts.items() if key.startswith("transfer/")]

    assert sum('"position"' not in text for text in texts.values()) == 12
    assert texts["account-info-update/samples/accept/documented-rejected.json"].count('"client_request_id"') == 2
    assert sorted("fee_id" in fee for fee in fees) == [False, False, False, True]
    assert all("fee_id" in fee or "instant_funding_id" in fee for fee in fees)
    assert not any("transfer_id" in transfer for transfer in transfers)
    assert sum("200962333Z" in text for text in texts.values()) == 34


def test_event_ids_are_unique() -> None:
    ids = [json.loads(path.read_bytes())["id"] for path in ACCEPTED]
    assert len(set(ids)) == len(ids)


def test_rejected_events_cover_every_contract_and_reason() -> None:
    per_contract = Counter(path.parents[2].name for path in REJECTED)
    short = [contract.name for contract in CATALOG.events.values() if per_contract[contract.name] < 2]
    assert not short, f"add samples/reject/<reason>--<case>.json, at least two each, to {short}"
    reasons = {Reason(path.name.partition("--")[0]) for path in REJECTED}
    assert reasons == set(Reason) - NOT_IN_A_SAMPLE


def test_unknown_biz_type() -> None:
    event = {"id": "event_1", "event_type": "ACCOUNT", "timestamp": "2025-03-29T07:02:33.200Z"}
    value = json.dumps({**event, "payload": {"biz_type": "ACCOUNT_MERGED", "account_id": "1"}}).encode()
    with pytest.raises(InvalidEvent) as raised:
        read(value)
    assert raised.value.reason is Reason.UNKNOWN_BIZ_TYPE
