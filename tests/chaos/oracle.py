"""Compares what the pipeline wrote with what the broker told, one partition number at a time."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from evidence import PartitionEvidence, Stored
from expected_events import CONTRACTS, TYPED_TOPICS, pushed_type, quarantine_reason, raw_value, typed_record
from expected_state import project
from journal import Journal, JournalEvent
from violations import Kind, Report, Stage

SOURCE = b"grpc"
CURSORS_IN = 0  # the only partition that has cursors
NOWHERE = -1
Place = tuple[int, datetime]  # of a raw record: offset and time, as a topic that is created again begins at 0


class Told(NamedTuple):
    """A raw record and which event of the journal it holds."""

    raw: Stored
    sequence: int


@dataclass
class Findings:
    """What one partition number shows: its violations, and the distinct events of its raw records."""

    partition: int
    report: Report
    sequences: array[int]


def examine(journal: Journal, prefix: str, evidence: PartitionEvidence) -> Findings:
    """Compare all that is in the partition of one number with what the broker told."""
    return _Examination(journal, prefix).run(evidence)


def conclude(journal: Journal, partitions: Iterable[Findings], repeats: int) -> Report:
    """Add up the partitions' findings, and what can only be said of all of them together.

    `repeats`: how many messages the broker pushed a second time.
    """
    report = Report()
    seen_in = array("h", [NOWHERE]) * len(journal)
    for findings in partitions:
        report.merge(findings.report)
        for sequence in findings.sequences:
            before, seen_in[sequence] = seen_in[sequence], findings.partition
            if before != NOWHERE and journal.at(sequence).key is not None:
                detail = f"in partitions {before} and {findings.partition}: {journal.at(sequence)}"
                report.add(Stage.RAW, Kind.OUT_OF_ORDER, detail)
    for sequence in (sequence for sequence, partition in enumerate(seen_in) if partition == NOWHERE):
        report.add(Stage.RAW, Kind.LOST, str(journal.at(sequence))[:500])
    copies = report.compared["records of raw"] - (len(seen_in) - report.found(Stage.RAW, Kind.LOST))
    if copies > repeats:
        report.add(Stage.RAW, Kind.DOUBLED, f"{copies} repeated events, the broker repeated {repeats}")
    return report


class _Examination:
    """Of one partition number."""

    def __init__(self, journal: Journal, prefix: str) -> None:
        self.report = Report()
        self._journal = journal
        self._prefix = prefix

    def run(self, evidence: PartitionEvidence) -> Findings:
        topics = evidence.topics
        told = self._check_raw(topics["raw"])
        typed, quarantined = self._fates(told)
        self._check_typed([stored for topic in TYPED_TOPICS for stored in topics[topic]], typed)
        self._check_quarantine(topics["quarantine"], quarantined)
        self._check_projection(topics)
        if evidence.partition == CURSORS_IN:
            self._check_cursors(topics["ingest.cursors"])
        compared = self.report.compared
        compared.update({f"records of {topic}": len(found) for topic, found in topics.items() if found})
        duplicates = len(told) - len(typed) - len(quarantined)
        compared.update({"events": len(typed) + len(quarantined), "duplicates": duplicates})
        written = sum(len(topics[topic]) for topic in TYPED_TOPICS) + len(topics["quarantine"])
        if len(topics["raw"]) != written + duplicates:
            detail = f"{len(topics['raw'])} raw records, {written} typed or quarantined, {duplicates} duplicates"
            self.report.add(Stage.BALANCE, Kind.CHANGED, f"partition {evidence.partition}: {detail}")
        return Findings(evidence.partition, self.report, array("L", {each.sequence for each in told}))

    def _check_raw(self, records: list[Stored]) -> list[Told]:
        told: list[Told] = []
        newest: dict[str, int] = {}
        first_seen: set[int] = set()
        for raw in records:
            event = self._journal.find(*((raw.headers.get(name) or b"").decode() for name in ("event_id", "position")))
            if event is None:
                self.report.add(Stage.RAW, Kind.UNEXPECTED, f"{raw} is of no event of the journal")
                continue
            told.append(Told(raw, event.sequence))
            self._compare(Stage.RAW, raw, _raw_facts(event), _facts(raw))
            if event.key is None or event.sequence in first_seen:
                continue
            first_seen.add(event.sequence)
            before = newest.get(event.key, -1)
            if before > event.sequence:
                self.report.add(Stage.RAW, Kind.OUT_OF_ORDER, f"{raw}: event {event.sequence} after {before}")
            newest[event.key] = event.sequence
        return told

    def _fates(self, told: Iterable[Told]) -> tuple[dict[str, Told], dict[Place, Told]]:
        """What each raw record has to become: typed, by event id; quarantined, by its place; the rest duplicates.

        A malformed event is refused as often as it comes.
        """
        typed: dict[str, Told] = {}
        quarantined: dict[Place, Told] = {}
        for each in told:
            event = self._journal.at(each.sequence)
            if event.malformed:
                quarantined[each.raw.offset, each.raw.time] = each
            else:
                typed.setdefault(event.event_id, each)
        return typed, quarantined

    def _check_typed(self, records: list[Stored], expected: Mapping[str, Told]) -> None:
        found: set[str] = set()
        newest: dict[tuple[str, str | None], int] = {}
        for stored in records:
            record = stored.record
            event_id = record["event_id"]
            told = expected.get(event_id)
            event = told and self._journal.at(told.sequence)
            if told is None or event is None or stored.topic != f"event.{CONTRACTS[event.biz_type].topic}":
                self.report.add(Stage.TYPED, Kind.UNEXPECTED, f"{stored}: event {event_id}, raw: {told and told.raw}")
            elif event_id in found:
                self.report.add(Stage.TYPED, Kind.DOUBLED, f"{stored}: event {event_id}, raw {told.raw}")
            else:
                found.add(event_id)
                raw = told.raw
                wanted = typed_record(event)
                self._compare(Stage.TYPED, stored, wanted, record)
                facts = {"key": event.key, "timestamp": raw.timestamp, "raw_offset": str(raw.offset).encode()}
                if "/simulated" in wanted["extra"]:
                    facts["simulated"] = b"true"
                written = {"key": stored.key, "timestamp": stored.timestamp, **stored.headers}
                self._compare(Stage.TYPED, stored, facts, written)
                order = (stored.topic, stored.key)
                if newest.get(order, -1) > event.sequence:
                    self.report.add(Stage.TYPED, Kind.OUT_OF_ORDER, f"{stored}: {event} after {newest[order]}")
                newest[order] = event.sequence
        for event_id in (event_id for event_id in expected if event_id not in found):
            told = expected[event_id]
            self.report.add(Stage.TYPED, Kind.LOST, f"{told.raw} -> {self._journal.at(told.sequence)}")

    def _check_quarantine(self, records: list[Stored], expected: Mapping[Place, Told]) -> None:
        found: set[Place] = set()
        for stored in records:
            record = stored.record
            place = record["offset"], record["timestamp"]
            told = expected.get(place)
            if told is None:
                self.report.add(Stage.QUARANTINE, Kind.UNEXPECTED, f"{stored}: {str(record)[:500]}")
            elif place in found:
                self.report.add(Stage.QUARANTINE, Kind.DOUBLED, f"{stored}: raw {told.raw}")
            else:
                found.add(place)
                raw = told.raw
                headers = [{"name": name, "value": value} for name, value in raw.headers.items()]
                facts: dict[str, Any] = {"key": raw.key and raw.key.encode(), "value": raw.value, "headers": headers}
                facts |= {"reason": quarantine_reason(self._journal.at(told.sequence)), "stage": "router"}
                facts |= {"topic": f"{self._prefix}.raw", "partition": raw.partition}
                self._compare(Stage.QUARANTINE, stored, facts, {name: record[name] for name in facts})
                self._compare(Stage.QUARANTINE, stored, {"key": raw.key}, {"key": stored.key})
        for place in (place for place in expected if place not in found):
            told = expected[place]
            self.report.add(Stage.QUARANTINE, Kind.LOST, f"{told.raw}: {self._journal.at(told.sequence).malformed}")

    def _check_cursors(self, records: list[Stored]) -> None:
        expected = {f"grpc/{stream}": position for stream, position in self._journal.last_positions().items()}
        found = {stored.key: stored.record["position"] for stored in records if stored.value is not None}
        if expected != found:
            self.report.add(Stage.CURSORS, Kind.CHANGED, f"expected {expected}, found {found}")

    def _check_projection(self, topics: Mapping[str, list[Stored]]) -> None:
        expected = project([stored for topic in TYPED_TOPICS for stored in topics[topic]])
        for alert in expected.alerts:
            alert["source_topic"] = f"{self._prefix}.{alert['source_topic']}"
        self._check_alerts(topics["alerts"], expected.alerts)
        for stage, table in (
            (Stage.ACTIVE, expected.active),
            (Stage.ACCOUNTS, expected.accounts),
            (Stage.MOVEMENTS, expected.movements),
        ):
            last = {str(stored.key): stored for stored in topics[stage.value]}
            held = {key: stored for key, stored in last.items() if stored.value is not None}
            for key in table.keys() - held.keys():
                self.report.add(stage, Kind.LOST, f"key {key}: expected {table[key]}")
            for key in held.keys() - table.keys():
                self.report.add(stage, Kind.UNEXPECTED, f"{held[key]}: {held[key].record}")
            for key in held.keys() & table.keys():
                self._compare(stage, held[key], _judged(table[key]), _judged(held[key].record))
            self.report.compared[f"keys of {stage}"] += len(held)

    def _check_alerts(self, records: list[Stored], expected: list[dict[str, Any]]) -> None:
        by_id = {alert["alert_id"]: alert for alert in expected}
        found: dict[str, Stored] = {}
        for stored in records:
            record = stored.record
            alert_id = record["alert_id"]
            if alert_id not in by_id:
                self.report.add(Stage.ALERTS, Kind.UNEXPECTED, f"{stored}: {record}")
            elif alert_id in found:
                self.report.add(Stage.ALERTS, Kind.DOUBLED, f"{stored} and {found[alert_id]}")
            else:
                found[alert_id] = stored
                self._compare(Stage.ALERTS, stored, by_id[alert_id], _without_summary(record))
                self._compare(Stage.ALERTS, stored, {"key": record["account_key"]}, {"key": stored.key})
        for alert_id in (alert_id for alert_id in by_id if alert_id not in found):
            self.report.add(Stage.ALERTS, Kind.LOST, str(by_id[alert_id]))
        due = _by_condition(alert for alert in expected if alert["alert_id"] in found)
        order = _by_condition(stored.record for stored in found.values())
        for dedup_key in due.keys() & order.keys():
            if due[dedup_key] != order[dedup_key]:
                detail = f"{dedup_key}: expected {due[dedup_key]}, found {order[dedup_key]}"
                self.report.add(Stage.ALERTS, Kind.OUT_OF_ORDER, detail)

    def _compare(self, stage: Stage, stored: Stored, expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        if expected != found:
            names = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
            pairs = (f"{name}: expected {expected.get(name)!r}, found {found.get(name)!r}"[:400] for name in names)
            self.report.add(stage, Kind.CHANGED, f"{stored}: {'; '.join(pairs)}")


def _raw_facts(event: JournalEvent) -> dict[str, Any]:
    facts: dict[str, Any] = {"key": event.key, "value": raw_value(event), "source": SOURCE}
    facts |= {"event_id": event.event_id.encode(), "event_type": pushed_type(event).encode()}
    return facts | {"position": event.position.encode(), "simulated": b"true"}


def _facts(raw: Stored) -> dict[str, Any]:
    names = ("source", "event_id", "event_type", "position", "simulated")
    return {"key": raw.key, "value": raw.value, **{name: raw.headers.get(name) for name in names}}


def _by_condition(alerts: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
    """Ids of alerts in their order, by dedup key."""
    ids: dict[str, list[str]] = defaultdict(list)
    for alert in alerts:
        ids[alert["dedup_key"]].append(alert["alert_id"])
    return ids


def _judged(record: dict[str, Any]) -> dict[str, Any]:
    """What of a state or alert is judged: a history that was cut doesn't hold what came before its first entry."""
    if record.get("history_dropped"):
        first, *others = record["history"]
        record = {**record, "history": [{**first, "illegal": None}, *others]}
    return _without_summary(record)


def _without_summary(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "summary"}
