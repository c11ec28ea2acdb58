"""Traces one event: from the console's tables to the places of its records, and from there to the records.

Nothing is scanned. What the tables do not know yet, or Kafka does not return in time, is named.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from broker_events.audit.event_trace import Decoded, EventRecords, Step, mentions, steps
from broker_events.audit.ledger import ROUTER
from broker_events.console.follower import Follower
from broker_events.console.places import Place, PlaceReader, StoredRecord
from broker_events.console.rows import ACCOUNTS, ACTIVE, ALERTS, MOVEMENTS, QUARANTINE, text
from broker_events.console.store import Row
from broker_events.console.tables import PAGE, Tables
from broker_events.runtime.consume.record import KafkaRecord, TopicPartition
from broker_events.runtime.events.event_plan import FieldSource, plan_event
from broker_events.runtime.events.pushed_event import parse_event
from broker_events.runtime.kafka.topic_reader import committed_offsets
from broker_events.runtime.process.errors import PipelineError
from broker_events.runtime.quarantine.replay import RECOVERIES
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import DELIVERIES, RAW, Catalog
from broker_events.schemas.codec import EventDecoder
from broker_events.schemas.invalid_event import InvalidEvent
from broker_events.schemas.models import Record as Model
from broker_events.schemas.registry import RegistryError

SECONDS: Final = 3.0
_MOST_MOVEMENTS: Final = 200


class FieldOrigin(NamedTuple):
    """A field of a typed record, the JSON Pointer that supplied it (None: derived), and the member as received."""

    field: str
    pointer: str | None
    raw: Any
    doc: str


@dataclass
class Trace:
    """What was found. `account`: the account key; `skipped`: what was not looked at; `models`: by place."""

    event_id: str
    account: str | None = None
    steps: list[Step] = field(default_factory=list)
    raw: list[KafkaRecord] = field(default_factory=list)
    models: dict[str, Model] = field(default_factory=dict)
    origins: list[FieldOrigin] = field(default_factory=list)
    typed: Model | None = None
    skipped: list[str] = field(default_factory=list)
    took_ms: int = 0


class Tracer:
    """Finds traces. `settings` has a short START_TIMEOUT_S: a person waits."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        tables: Tables,
        follower: Follower,
        reader: PlaceReader,
        decoder: EventDecoder,
    ) -> None:
        self._settings, self._catalog = settings, catalog
        self._tables, self._follower, self._reader, self._decoder = tables, follower, reader, decoder

    def trace(self, event_id: str) -> Trace:
        """Return all that is known of an event id. Takes about `SECONDS` at most."""
        started = time.monotonic()
        trace, found = Trace(event_id), EventRecords()
        received = [Place(self._settings.topic(RAW), row["partition"], row["offset"]) for row in self._received(trace)]
        outputs = [
            Place(row["topic"], place.partition, row["offset"])
            for place in received
            for row in self._tables.typed(place.partition, place.offset)
        ]
        rejected = self._tables.quarantined_events(event_id, ["/".join(map(str, place)) for place in received])
        outputs += [Place(self._settings.topic(QUARANTINE), row["partition"], row["offset"]) for row in rejected]
        records = self._reader.read([*received, *outputs], SECONDS)
        missing = [place for place in (*received, *outputs) if place not in records]
        if missing:
            trace.skipped.append(
                f"{', '.join(map(str, missing[:5]))}{' and more' if missing[5:] else ''}: Kafka did not return "
                f"{'it' if len(missing) == 1 else 'them'} within {SECONDS:g} s, or retention has deleted "
                f"{'it' if len(missing) == 1 else 'them'}"
            )
        found.raw = [records[place] for place in received if place in records]
        listed: list[KafkaRecord] = [records[place] for place in outputs if place in records]
        listed += self._stored(event_id, rejected)
        trace.account = next((text(r.key()) for r in [*listed, *found.raw] if self._is_keyed(r)), None)
        listed += self._states(event_id, trace.account)
        found.decoded = [each for record in listed if (each := self._decoded(record, trace)) is not None]
        routed = {(place.partition, place.offset) for place in received if self._tables.typed(*place[1:])}
        routed |= {(row["partition"], int(row["source"].rpartition("/")[2])) for row in rejected}
        if any((record.partition(), record.offset()) not in routed for record in found.raw):
            self._routed(found, trace)
        self._unread(trace, {place.partition for place in received})
        trace.raw = found.raw
        trace.steps = steps(event_id, found) if found else []
        self._explain(found, trace)
        trace.took_ms = round((time.monotonic() - started) * 1000)
        return trace

    def decode(self, value: bytes) -> Model | None:
        """Return the record of a value, None if it can't be decoded or the registry does not answer."""
        try:
            return self._decoder.decode(value)
        except (ValueError, RegistryError):
            return None

    def _received(self, trace: Trace) -> list[Row]:
        rows = self._tables.events(trace.event_id)
        if len(rows) > PAGE:
            trace.skipped.append(f"raw records after the first {PAGE} with this event id")
        return rows[:PAGE]

    def _stored(self, event_id: str, rejected: list[Row]) -> Iterator[StoredRecord]:
        """Yield alerts and audit records of replays, which the tables hold whole."""
        topic = self._settings.topic(ALERTS)
        for row in self._tables.alerts_from(event_id):
            place = Place(topic, row["partition"], row["offset"])
            yield StoredRecord(place, row["account"].encode(), row["value"], row["at_ms"], _headers(row))
            for sent in self._tables.deliveries(row["id"]):
                place = Place(self._settings.topic(DELIVERIES), sent["partition"], sent["offset"])
                yield StoredRecord(place, sent["key"].encode(), sent["value"], sent["at_ms"], [])
        prefix = self._settings.topic(QUARANTINE)
        keys = [f"{prefix}/{row['partition']}/{row['offset']}" for row in rejected]
        for key, row in self._tables.replays(keys).items():
            place = Place(self._settings.topic(RECOVERIES), row["partition"], row["offset"])
            yield StoredRecord(place, key.encode(), row["value"], row["at_ms"], [])

    def _states(self, event_id: str, account: str | None) -> Iterator[StoredRecord]:
        """Yield the states that name the event."""
        if account is None:
            return
        rows = [(ACCOUNTS, row) for row in [self._tables.account(account)] if row is not None]
        rows += [(MOVEMENTS, row) for row in self._tables.movements(account, _MOST_MOVEMENTS, None).rows]
        rows += [(ACTIVE, row) for row in self._tables.active(account, None, PAGE, None).rows]
        wanted = event_id.encode("utf-8", "backslashreplace")
        for name, row in rows:
            if wanted not in row["value"]:
                continue
            model = self.decode(row["value"])
            if model is not None and any(mentions(event_id, model.model_dump())):
                place = Place(self._settings.topic(name), row["partition"], row["offset"])
                yield StoredRecord(place, row["key"].encode(), row["value"], row["at_ms"], _headers(row))

    def _decoded(self, record: KafkaRecord, trace: Trace) -> Decoded | None:
        model = self.decode(record.value() or b"")
        place = str(Place(record.topic(), record.partition(), record.offset()))
        if model is None:
            trace.skipped.append(f"{place}: it cannot be decoded, or the schema registry does not answer")
            return None
        trace.models[place] = model
        return Decoded(record, model)

    def _is_keyed(self, record: KafkaRecord) -> bool:
        name = record.topic().removeprefix(self._settings.topic(""))
        return record.key() is not None and name not in {RECOVERIES, DELIVERIES}

    def _routed(self, found: EventRecords, trace: Trace) -> None:
        """Ask how far the routers are: a raw record has no output."""
        partitions = sorted({TopicPartition(record.topic(), record.partition()) for record in found.raw})
        try:
            committed = committed_offsets(self._settings, self._settings.group(ROUTER), partitions)
        except PipelineError as error:
            trace.skipped.append(f"how far the routers are: {error}")
            return
        found.routed_to = {tp.partition: offset or 0 for tp, offset in committed.items()}

    def _unread(self, trace: Trace, partitions: set[int]) -> None:
        """Name the offsets that the tables do not have yet: a record of the event may be there."""
        freshness = self._follower.freshness()
        if freshness.left == 0 or (partitions and freshness.behind_s == 0):
            return
        wanted = partitions or {tp[1] for tp in self._follower.positions}
        for topic, partition in sorted(self._follower.positions):
            if partition in wanted and (unread := self._follower.unread(topic, partition)) is not None:
                first, last = unread
                if last > first:  # the last offset may be a transaction marker
                    trace.skipped.append(f"{topic}[{partition}] offsets {first} to {last}: not read yet, try again")

    def _explain(self, found: EventRecords, trace: Trace) -> None:
        """Find where each field of the typed record comes from."""
        typed = next((each for each in found.decoded if ".event." in each.record.topic()), None)
        if typed is None or not found.raw:
            return
        contract = self._catalog.events.get(str(getattr(typed.model, "biz_type", "")))
        if contract is None or contract.schema is None:
            return
        try:
            event = parse_event(found.raw[0].value() or b"").root
        except InvalidEvent:
            return
        docs = {each["name"]: str(each.get("doc", "")) for each in contract.schema["fields"]}
        trace.typed = typed.model
        plans = {each.name: each for each in plan_event(contract).fields}
        for name in type(typed.model).model_fields:
            plan = plans.get(name)
            pointer, raw = (None, None) if plan is None else _supplied(event, plan.sources)
            trace.origins.append(FieldOrigin(name, pointer, raw, docs.get(name, "")))


def _supplied(event: dict[str, Any], sources: tuple[FieldSource, ...]) -> tuple[str | None, Any]:
    """Return the pointer and value of the first source that is not null."""
    for source in sources:
        found: Any = event
        for member in source.pointer.split("/")[1:]:
            found = found.get(member) if isinstance(found, dict) else None
        if found is not None:
            return source.pointer, str(found) if not isinstance(found, (str, bool, list, dict)) else found
    return None, None


def _headers(row: Row) -> list[tuple[str, str | bytes | None]]:
    return [("simulated", "true")] if row["simulated"] else []
