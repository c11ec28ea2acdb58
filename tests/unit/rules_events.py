"""Typed events for the tests of the rules: the documented samples, at other times and with other values."""

import copy
import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

from broker_events.processors.alert_rules.judge import apply_rules
from broker_events.processors.alert_rules.rule import DataRule
from broker_events.processors.rules import PROJECTIONS, Flag, RecordOrigin
from broker_events.processors.rules.linking import index_keys
from broker_events.processors.rules.outcome import Outcome, Projected
from broker_events.runtime.state.partition_state import PartitionState
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.codec import Codec
from broker_events.schemas.storage_types import Alert

ACCOUNT = "036UUF6TQA8CD0KHJPEC000000"
SECOND = 1_000_000_000
HOUR = 3600 * SECOND
MAX_SKEW_US = 60_000_000
HK, US, CN = (f"{market}_STOCK_LIQUIDATE_ONLY" for market in ("HK", "US", "CN"))
HK_NO_TRADE = "HK_STOCK_NO_TRADE"

CATALOG = load_catalog()
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")
_START = datetime.fromisoformat("2025-03-29T07:02:33Z")
_START_US = (_START - _EPOCH) // timedelta(microseconds=1)


def sample_names(biz_type: str) -> list[str]:
    accepted = (CATALOG.events[biz_type].folder / "samples" / "accept").glob("*.record.json")
    return sorted(path.name.removesuffix(".record.json") for path in accepted)


@cache
def _sample_text(biz_type: str, name: str) -> str:
    full_name = next(full_name for full_name in sample_names(biz_type) if full_name.startswith(name))
    path = CATALOG.events[biz_type].folder / "samples" / "accept" / f"{full_name}.record.json"
    return path.read_text(encoding="utf-8")


def sample(biz_type: str, name: str) -> dict[str, Any]:
    """Record in storage form of the first sample whose name begins with `name`."""
    schema = CATALOG.events[biz_type].schema
    assert schema is not None
    return {**_stored(json.loads(_sample_text(biz_type, name)), schema)}


def _stored(value: Any, avro_type: Any) -> Any:
    match avro_type:
        case ["null", inner]:
            return None if value is None else _stored(value, inner)
        case {"logicalType": "timestamp-micros"}:
            return (datetime.fromisoformat(value) - _EPOCH) // timedelta(microseconds=1)
        case {"logicalType": "decimal"}:
            return decimal(value)
        case {"type": "array", "items": items}:
            return [_stored(item, items) for item in value]
        case {"type": "record", "fields": fields}:
            return {field["name"]: _stored(value[field["name"]], field["type"]) for field in fields}
    return value


def decimal(text: str) -> bytes:
    sign, digits, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int)
    unscaled: int = (-1 if sign else 1) * int("".join(map(str, digits))) * 10 ** (18 + exponent)
    return unscaled.to_bytes((unscaled + (unscaled < 0)).bit_length() // 8 + 1, "big", signed=True)


def time_at(ns: int) -> dict[str, Any]:
    """Event time `ns` nanoseconds after 2025-03-29T07:02:33Z."""
    seconds, fraction = divmod(ns, SECOND)
    text = (_START + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return {"event_time": _START_US + ns // 1000, "event_time_text": f"{text}.{fraction:09}Z"}


def event(biz_type: str, name: str, *, ns: int, **changes: Any) -> dict[str, Any]:
    """A sample at another time; its event id says type, sample and time unless given."""
    return {**sample(biz_type, name), "event_id": f"{biz_type}.{name}.{ns}", **time_at(ns), **changes}


def account_update(restrictions: list[str], *, ns: int, **changes: Any) -> dict[str, Any]:
    return event("ACCOUNT_UPDATE", "documented-all-restrictions", ns=ns, restrictions=restrictions, **changes)


def transfer(status: str, *, ns: int, **changes: Any) -> dict[str, Any]:
    reason = {"CANCELED": "xxx", "REJECTED": "xxx", "RETURNED": "xxx"}.get(status)
    values = {"status": status, "reason": reason, "event_id": f"TRANSFER.{status}.{ns}", **changes}
    return event("TRANSFER", "documented-completed", ns=ns, **values)


class Arrived(NamedTuple):
    """An event, and when it was received: `ns` nanoseconds after 2025-03-29T07:02:33Z."""

    event: dict[str, Any]
    ns: int


def typed_at(biz_type: str, offset: int, received_us: int) -> RecordOrigin:
    """Where the typed record of an event is that was received then."""
    topic = f"broker.{CATALOG.events[biz_type].topics[0].name}"
    return RecordOrigin(topic, 3, offset, received_us // 1000 * 1000, MAX_SKEW_US)


class Memory:
    """A table's states in plain dicts. What a rule gets is kept to see that it alters nothing."""

    def __init__(self) -> None:
        self.states: dict[bytes, Any] = {}
        self.index: dict[bytes, bytes] = {}
        self._given: list[tuple[Any, Any]] = []

    def get(self, key: bytes) -> Any:
        state = self.states.get(key)
        self._given.append((state, copy.deepcopy(state)))
        return state

    def holder(self, index_key: bytes) -> bytes | None:
        return self.index.get(index_key)

    def __contains__(self, key: bytes) -> bool:
        return key in self.states

    def restart(self) -> None:
        """Read the states as a worker does that starts."""
        codec = Codec[Any](CATALOG.topics["state.movements"][0], 1)
        states = PartitionState[Any](codec, index_keys)
        states.values = {key: codec.encode(state) for key, state in self.states.items()}
        states.reindex()
        self.index = states._index

    def put(self, projected: Projected[Any]) -> Outcome[Any]:
        assert all(state == kept for state, kept in self._given)
        self._given.clear()
        key, before, outcome, link = projected
        if outcome.state is not before:
            self.states[key] = outcome.state
        if link is not None:
            self.states.update(link.others)
            self.index.update(dict.fromkeys(link.index_keys, key))
        return outcome


class Folded(NamedTuple):
    """What is left after some events: states by key, all alerts and all flags in order."""

    states: dict[str, Any]
    alerts: list[Alert]
    flags: list[Flag]

    @property
    def state(self) -> Any:
        """The only one that is no alias."""
        (only,) = (state for state in self.states.values() if state.get("alias_of") is None)
        return only


def fold(
    *events: dict[str, Any] | Arrived,
    account_key: str = ACCOUNT,
    times: int = 1,
    tables: dict[str, Memory] | None = None,
    rules: Sequence[DataRule] = (),
) -> Folded:
    """Project events of one account as they come, received at their own time unless it is given; all of them `times`.

    The offset of each counts from 0 in its topic. Asserts on the way that a rule alters neither the event nor the state
    that it is given.
    """
    tables = defaultdict(Memory) if tables is None else tables
    folded = Folded({}, [], [])
    for _ in range(times):
        _fold_once(folded, events, account_key, tables, rules)
    for table in tables.values():
        folded.states.update({key.decode(): state for key, state in table.states.items()})
    return folded


def _fold_once(
    folded: Folded,
    events: tuple[dict[str, Any] | Arrived, ...],
    account_key: str,
    tables: dict[str, Memory],
    rules: Sequence[DataRule],
) -> None:
    offsets: dict[str, int] = {}
    for each in events:
        one, received_us = (
            (each.event, _START_US + each.ns // 1000) if isinstance(each, Arrived) else (each, each["event_time"])
        )
        biz_type = one["biz_type"]
        projection = PROJECTIONS[biz_type]
        offset = offsets.get(biz_type, 0)
        offsets[biz_type] = offset + 1
        source = typed_at(biz_type, offset, received_us)
        kept = copy.deepcopy(one)
        table = tables[projection.topic]
        key, before, outcome, link = projection.apply(table, one, account_key, source)
        if of_type := [rule for rule in rules if biz_type in rule.by_type]:
            outcome = apply_rules(of_type, outcome, one, account_key, source)
        outcome = table.put((key, before, outcome, link))
        assert one == kept
        folded.alerts.extend(outcome.alerts)
        folded.flags.extend(outcome.flags)
