"""What a flawless pipeline would have written of the simulator's events, made without any broker."""

from __future__ import annotations

import io
from itertools import count
from pathlib import Path
from typing import Any

from evidence import PartitionEvidence, Stored
from expected_events import CONTRACTS, TYPED_TOPICS, quarantine_reason, raw_value, typed_record
from expected_state import project
from journal import Journal, JournalEvent

from broker_events.devstack.simulator.event_log import EventLog
from broker_events.devstack.simulator.faults import parse_fault
from broker_events.devstack.simulator.malformed import MALFORMED_REASONS
from broker_events.devstack.simulator.traffic import Traffic

PREFIX = "ideal"
EVENTS = 1200
PARTITIONS = 3
START_MS = 1_800_000_000_000  # receipts are later than every event


def write_journal(path: Path) -> Journal:
    """The journal of a simulator that has told `EVENTS` events, 5 in 100 of them malformed."""
    lines = io.BytesIO()
    faults = (parse_fault("malformed=0.05", MALFORMED_REASONS),)
    log = EventLog(
        Traffic(seed=3, accounts=60, faults=faults),
        seed=3,
        clock=lambda _: 0,  # the times in an inner payload are of no matter to the oracle
        count=EVENTS,
        payload_form="inner",
        without_position=False,
        journal=lines,
    )
    log.grow(EVENTS)
    log.close()
    path.write_bytes(lines.getvalue())
    return Journal(path)


def ideal_evidence(journal: Journal) -> list[PartitionEvidence]:
    """The records of every partition; cursors are in partition 0."""
    partitions = [_Writer(number) for number in range(PARTITIONS)]
    for event in journal:
        writer = partitions[sum((event.key or event.event_id).encode()) % PARTITIONS]
        writer.route(event)
        partitions[0].write(
            "ingest.cursors", f"grpc/{event.event_type}", {}, {"position": event.position}, event.sequence
        )
    for writer in partitions:
        writer.project()
    return [writer.evidence for writer in partitions]


class AsItIs:
    """Ideal values are the records themselves."""

    def decode(self, _topic: str, value: Any) -> Any:
        return value


class _Writer:
    """Appends records to one partition of every topic."""

    def __init__(self, partition: int) -> None:
        self.evidence = PartitionEvidence(partition)
        self._offsets = count()

    def write(self, topic: str, key: str | None, headers: dict[str, bytes | None], record: Any, at: int) -> Stored:
        offset = next(self._offsets)
        stored = Stored(topic, self.evidence.partition, offset, key, record, headers, START_MS + at, AsItIs())
        self.evidence.topics[topic].append(stored)
        return stored

    def route(self, event: JournalEvent) -> None:
        headers: dict[str, bytes | None] = {
            "event_id": event.event_id.encode(),
            "event_type": event.event_type.encode(),
            "position": event.position.encode(),
            "source": b"grpc",
            "simulated": b"true",
        }
        value = raw_value(event)
        raw = self.write("raw", event.key, headers, value, event.sequence)
        if event.malformed is None:
            topic = f"event.{CONTRACTS[event.biz_type].topic}"
            of_typed: dict[str, bytes | None] = {"raw_offset": str(raw.offset).encode(), "simulated": b"true"}
            self.write(topic, event.key, of_typed, typed_record(event), event.sequence)
            return
        record = {
            "reason": quarantine_reason(event),
            "stage": "router",
            "topic": f"{PREFIX}.raw",
            "partition": raw.partition,
            "offset": raw.offset,
            "timestamp": raw.time,
            "key": raw.key and raw.key.encode(),
            "value": value,
            "headers": [{"name": name, "value": text} for name, text in headers.items()],
        }
        self.write("quarantine", event.key, {}, record, event.sequence)

    def project(self) -> None:
        topics = self.evidence.topics
        projection = project([stored for topic in TYPED_TOPICS for stored in topics[topic]])
        for alert in projection.alerts:
            alert["source_topic"] = f"{PREFIX}.{alert['source_topic']}"
            alert["summary"] = "for people"
            self.write("alerts", alert["account_key"], {}, alert, 0)
            if alert["rule"] == "LIQUIDATE_ONLY" or alert["condition"]:
                active = alert if alert["status"] == "FIRING" else None
                self.write("alerts.active", alert["dedup_key"], {}, active, 0)
        for topic, table in (("state.accounts", projection.accounts), ("state.movements", projection.movements)):
            for key, state in table.items():
                self.write(topic, key, {}, state, 0)
