"""Which quarantined record has waited longest for a replay, with as little reading as that takes."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping
from typing import Any
from unittest.mock import Mock

import pytest
from test_audit_reconciliation import Rec

from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.quarantine import oldest as oldest_module
from broker_events.runtime.quarantine.oldest import OldestUnreplayed
from broker_events.runtime.settings import Settings

TOPIC, RECOVERIES = "broker.quarantine", "broker.quarantine.recoveries"


class Quarantine:
    """Partition -> reasons by offset, some with "marker" or a pointer.

    A record is quarantined `1,000 + offset` seconds after the epoch.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, partitions: dict[int, list[str]]) -> None:
        self.partitions = partitions
        self.replayed: list[str] = []
        self.read_records = 0
        self.metrics = Metrics()
        monkeypatch.setattr(oldest_module, "topic_partitions", lambda *_: [TopicPartition(RECOVERIES, 0)])
        monkeypatch.setattr(oldest_module, "read_to_end", self._recoveries)
        monkeypatch.setattr(oldest_module, "end_offsets", self._ends)
        self.watch = OldestUnreplayed(Settings(), Mock(read=self._read), self.metrics)
        self.watch._assigned = frozenset(partitions)

    def oldest(self) -> float | None:
        self.watch.look()
        return self.metrics.registry.get_sample_value("broker_events_quarantine_oldest_timestamp_seconds")

    def _ends(self, _: Settings, partitions: list[TopicPartition], __: threading.Event) -> dict[TopicPartition, int]:
        return {tp: len(self.partitions[tp.partition]) for tp in partitions}

    def _recoveries(self, _: Settings, starts: Mapping[TopicPartition, int], **__: object) -> Iterator[list[Any]]:
        [start] = starts.values()
        yield [
            Rec(start + index, b"", RECOVERIES, key_=f"{TOPIC}/{place}".encode())
            for index, place in enumerate(self.replayed[start:])
        ]

    def _read(
        self, starts: Mapping[TopicPartition, int], *_: object, **__: object
    ) -> Generator[tuple[Any, dict[str, Any]]]:
        [(tp, start)] = starts.items()
        for offset, text in enumerate(self.partitions[tp.partition][start:], start):
            self.read_records += 1
            reason, more = [*text.split(" "), ""][:2]
            headers = [{"name": "content_sha256", "value": b"00"}] if more == "marker" else []
            event = {"reason": reason, "pointer": more if more == "/id" else "", "headers": headers}
            yield Rec(offset, b"", TOPIC, timestamp_=(1000 + offset) * 1000), event


def test_the_oldest_of_the_assigned_partitions_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    quarantine = Quarantine(
        monkeypatch, {0: ["not_json", "not_json", "bad_amount", "bad_time"], 1: ["not_json"], 2: []}
    )
    assert quarantine.oldest() == 1002
    quarantine.replayed.append("0/2")
    assert quarantine.oldest() == 1003
    quarantine.partitions[2].append("unknown_biz_type")
    assert quarantine.oldest() == 1000
    quarantine.watch._assigned = frozenset({0, 1})
    assert quarantine.oldest() == 1003
    quarantine.replayed.append("0/3")
    assert quarantine.oldest() == 0


@pytest.mark.parametrize(
    ("reason", "waits"),
    [
        ("refused", True),
        ("too_large", True),
        ("too_large marker", False),
        ("too_large /id", False),
        ("bad_amount /id", True),
    ],
)
def test_what_a_change_of_the_topics_may_type_waits(
    reason: str, *, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Quarantine(monkeypatch, {0: [reason]}).oldest() == (1000 if waits else 0)


def test_nothing_behind_the_oldest_is_read_and_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    quarantine = Quarantine(monkeypatch, {0: ["not_json"] * 5 + ["bad_amount"] * 1000})
    for _ in range(3):
        assert quarantine.oldest() == 1005
    assert quarantine.read_records == 6
    quarantine.replayed += [f"0/{offset}" for offset in range(5, 1005)]
    assert quarantine.oldest() == 0
    before = quarantine.read_records
    assert quarantine.oldest() == 0
    assert quarantine.read_records == before


def test_the_thread_ends_with_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    quarantine = Quarantine(monkeypatch, {0: ["bad_amount"]})
    with quarantine.watch as watch:
        watch.assign([0])
        watch.assign([0])
        assert watch._thread is not None
    assert not watch._thread.is_alive()
