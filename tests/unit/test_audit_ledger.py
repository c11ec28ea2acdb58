"""The ledger judges settled ranges, and reports no record as expired that retention must have kept."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from test_audit_reconciliation import CREDIT, FRAMES, TOPICS, TRANSFER, Rec, declining, quarantined, raw, typed

from broker_events.audit import ledger
from broker_events.audit.discrepancies import DiscrepancyKind
from broker_events.audit.ledger import Auditor, Range, settled_ranges
from broker_events.audit.verdict import Verdict
from broker_events.cli.ledger import _report
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.process.errors import OperatorActionRequired

DAY_MS = 86_400_000
NOW_MS = int(time.time() * 1000)
RAW, QUARANTINE = "broker.raw", "broker.quarantine"
Starts = Mapping[TopicPartition, int]


@dataclass
class Kafka:
    """One partition of each topic, by Kafka name, in place of what the ledger asks of Kafka."""

    records: defaultdict[str, list[Rec]] = field(default_factory=lambda: defaultdict(list))
    firsts: dict[str, int] = field(default_factory=dict)
    committed: int | None = None
    retention: dict[str, int | None] = field(default_factory=lambda: defaultdict(lambda: 30 * DAY_MS))
    duplicate_window = 3

    def topic(self, name: str) -> str:
        return f"broker.{name}"

    group = topic

    def _first(self, tp: TopicPartition) -> int:
        return self.firsts.get(tp.topic, 0)

    def _end(self, tp: TopicPartition) -> int:
        return max((record.offset_ + 1 for record in self.records[tp.topic]), default=self._first(tp))

    def first_offsets(self, _: object, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self._first(tp) for tp in tps}

    def end_offsets(self, _: object, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self._end(tp) for tp in tps}

    def committed_offsets(self, *_: object) -> dict[TopicPartition, int | None]:
        return {TopicPartition(RAW, 0): self.committed}

    def offsets_at(self, _: object, tps: Sequence[TopicPartition], ms: int) -> dict[TopicPartition, int]:
        at = {tp: (record.offset_ for record in self.records[tp.topic] if record.timestamp_ >= ms) for tp in tps}
        return {tp: next(offsets, self._end(tp)) for tp, offsets in at.items()}

    def read_to_end(self, _: object, starts: Starts, ends: Starts | None = None) -> Iterator[list[Rec]]:
        for tp, start in starts.items():
            end = self._end(tp) if ends is None else ends[tp]
            if kept := [record for record in self.records[tp.topic] if start <= record.offset_ < end]:
                yield kept

    def retention_ms(self, _: object, topics: Sequence[str]) -> dict[str, int | None]:
        return {topic: self.retention[topic] for topic in topics}

    def read(self, *_: object, **__: object) -> Iterator[tuple[Rec, Any]]:
        """As the reader of quarantine does it: here the records there are the refused raw ones themselves."""
        for record in self.records[QUARANTINE]:
            yield Rec(record.offset_, b"", QUARANTINE), {"partition": 0, **quarantined(record)}

    def audit(self, start: int, end: int) -> Verdict:
        auditor = Auditor.__new__(Auditor)
        vars(auditor).update(_settings=self, _biz_types=TOPICS, _frames=FRAMES, _read=declining, _encode=None)
        vars(auditor).update(_rejected=self)
        return auditor.audit(Range(0, start, end))


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    kafka = Kafka()
    for name in ("first_offsets", "end_offsets", "committed_offsets", "offsets_at", "read_to_end", "retention_ms"):
        monkeypatch.setattr(ledger, name, getattr(kafka, name))
    monkeypatch.setattr(ledger, "admin_client", lambda _: None)
    return kafka


def at(record: Rec, days_ago: float) -> Rec:
    return replace(record, timestamp_=NOW_MS - int(days_ago * DAY_MS))


def test_a_group_without_an_offset_is_refused_and_the_line_says_what_to_do(kafka: Kafka) -> None:
    kafka.records[RAW] = [raw(0, "a")]
    with pytest.raises(
        OperatorActionRequired, match=r"broker\.router has no offset .* partitions 0, .*TOPIC_PREFIX.*--reset-"
    ):
        settled_ranges(kafka, [TopicPartition(RAW, 0)])  # type: ignore[arg-type]  # what it asks of settings
    kafka.committed = 1
    assert settled_ranges(kafka, [TopicPartition(RAW, 0)]) == [Range(0, 0, 1)]  # type: ignore[arg-type]


def test_an_empty_partition_needs_no_offset(kafka: Kafka) -> None:
    assert settled_ranges(kafka, [TopicPartition(RAW, 0)]) == [Range(0, 0, 0)]  # type: ignore[arg-type]


def test_what_retention_must_have_left_is_lost_though_quarantine_has_been_emptied(kafka: Kafka) -> None:
    kafka.records[RAW] = [at(raw(0, "a"), 40), at(raw(1, "b"), 20), at(raw(2, "c"), 2)]
    kafka.firsts = {QUARANTINE: 1}
    found = kafka.audit(0, 3)
    assert (found.expired, found.listed) == (1, [(DiscrepancyKind.LOST, 1, None), (DiscrepancyKind.LOST, 2, None)])
    # The clocks of machines differ.
    kafka.records[RAW][1] = at(raw(1, "b"), 30 - 0.02)
    assert kafka.audit(0, 3).expired == 2


def test_what_retention_must_have_left_is_lost_though_its_rare_topic_has_been_emptied(kafka: Kafka) -> None:
    kafka.records[RAW] = [at(raw(0, "a", biz_type="TRANSFER"), 40), at(raw(1, "b", biz_type="TRANSFER"), 20)]
    kafka.firsts = {TRANSFER: 7}
    assert kafka.audit(0, 2).listed == [(DiscrepancyKind.LOST, 1, None)]


@pytest.mark.parametrize("topic", [TRANSFER, QUARANTINE])
def test_where_retention_is_unknown_the_oldest_output_left_decides(kafka: Kafka, topic: str) -> None:
    kafka.records[RAW] = [at(raw(offset, str(offset), biz_type="TRANSFER"), 3 - offset) for offset in range(3)]
    kafka.retention[topic] = None
    kafka.firsts = {topic: 1}
    assert kafka.audit(0, 3).expired == 3
    left = typed(1, "1", 1, TRANSFER) if topic == TRANSFER else replace(kafka.records[RAW][1], topic_=QUARANTINE)
    kafka.records[topic] = [replace(left, timestamp_=kafka.records[RAW][1].timestamp_)]
    found = kafka.audit(0, 3)
    assert (found.expired, found.listed) == (1, [(DiscrepancyKind.LOST, 2, None)])


def test_what_is_not_proved_is_in_the_last_line(kafka: Kafka) -> None:
    kafka.records[RAW] = [at(raw(0, "a"), 40), at(raw(1, "b"), 2)]
    kafka.firsts = {CREDIT: 1}
    kafka.records[CREDIT] = [at(typed(1, "b", 1), 2)]
    assert [*_report([kafka.audit(0, 2)])][-1] == "reconciled, 1 not proved (outputs that retention may have deleted)"
    assert [*_report([kafka.audit(1, 2)])][-1] == "reconciled"


def test_a_duplicate_of_a_deleted_record_is_found_by_its_typed_record(kafka: Kafka) -> None:
    kafka.records[RAW] = [at(raw(100, "99"), 1), *(at(raw(offset, str(offset)), 0.5) for offset in range(101, 106))]
    kafka.records[CREDIT] = [at(typed(offset, str(offset), offset), 2 - offset / 100) for offset in range(95, 100)]
    kafka.records[CREDIT] += [at(typed(offset, str(offset), offset), 0.5) for offset in range(101, 106)]
    kafka.firsts = {RAW: 100, CREDIT: 95}
    found = kafka.audit(100, 106)
    assert (found.duplicates, found.typed, found.is_reconciled) == (1, 5, True)


def test_what_may_repeat_something_before_from_is_not_called_lost(kafka: Kafka) -> None:
    kafka.records[RAW] = [at(raw(offset, "a" if offset == 0 else "refused"), 1) for offset in range(40)]
    kafka.records[RAW] += [at(raw(40, "a"), 1)]
    kafka.records[CREDIT] = [at(typed(0, "a", 0), 1)]
    kafka.records[QUARANTINE] = kafka.records[RAW][1:40]
    assert kafka.audit(0, 41).duplicates == 1
    assert kafka.audit(40, 41).listed == [(DiscrepancyKind.UNKNOWN, 40, None)]
    # Where raw is deleted there is no more to be known.
    kafka.firsts = {RAW: 39}
    del kafka.records[RAW][:39], kafka.records[CREDIT][:]
    assert kafka.audit(40, 41).listed == [(DiscrepancyKind.LOST, 40, None)]


def test_an_output_that_names_an_unwritten_record(kafka: Kafka) -> None:
    kafka.records[RAW] = [at(raw(offset, str(offset)), 1) for offset in range(3)]
    kafka.records[CREDIT] = [at(typed(offset, str(offset), offset), 1) for offset in range(3)]
    assert kafka.audit(0, 2).is_reconciled
    kafka.records[CREDIT] += [at(typed(3, "0", 3), 1)]
    assert kafka.audit(0, 2).listed == [(DiscrepancyKind.FOREIGN, 3, f"{CREDIT}[0]@3")]
