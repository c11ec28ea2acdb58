"""Restore of the duplicate windows from stored records."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterator, Mapping
from typing import cast
from unittest.mock import Mock

import pytest
from test_audit_reconciliation import Rec

from broker_events.processors import duplicate_restore
from broker_events.processors.duplicate_restore import DuplicateRestore
from broker_events.processors.routing import Routing
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.events.body_hash import body_hash
from broker_events.runtime.events.duplicate_window import DuplicateWindow
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.quarantine.reader import QuarantineReader
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import RAW, load_catalog

CATALOG = load_catalog()
EVENT = {"event_type": "FUNDING", "timestamp": "2026-01-01T00:00:00Z", "payload": {"biz_type": "CREDIT"}}


class Stored:
    """Kafka's content: raw events of partition 0, and typed records of some of them in two topics."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int, typed: Collection[int], size: int = 10) -> None:
        self.settings = Settings(duplicate_window=size)
        self.read = 0
        self.typed_read = 0
        self.quarantined: set[int] = set()
        self._values = [json.dumps(EVENT | {"id": f"e{number}"}).encode() for number in range(count)]
        raw = self.settings.topic(RAW)
        self.topics: dict[str, list[Rec]] = {
            raw: [Rec(number, value, raw, timestamp_=1000 + number) for number, value in enumerate(self._values)]
        }
        for name, remainder in (("event.credit", 0), ("event.transfer", 1)):
            topic = self.settings.topic(name)
            self.topics[topic] = [
                Rec(0, b"", topic, timestamp_=1000 + offset, headers_={"raw_offset": b"%d" % offset})
                for offset in typed
                if offset % 2 == remainder
            ]
        monkeypatch.setattr(duplicate_restore, "read_to_end", self._read_to_end)
        monkeypatch.setattr(duplicate_restore, "first_offsets", lambda _, partitions, __: dict.fromkeys(partitions, 0))
        monkeypatch.setattr(duplicate_restore, "offsets_since", self._offsets_since)
        monkeypatch.setattr(
            duplicate_restore,
            "end_offsets",
            lambda _, partitions, __: {tp: len(self.topics.get(tp.topic, ())) for tp in partitions},
        )

    def _offsets_since(
        self, _: Settings, times_ms: Mapping[TopicPartition, int], __: threading.Event
    ) -> dict[TopicPartition, int]:
        return {
            tp: sum(record.timestamp()[1] < time_ms for record in self.topics.get(tp.topic, ()))
            for tp, time_ms in times_ms.items()
        }

    def _read_to_end(
        self,
        _: Settings,
        starts: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int] | None = None,
        stop: threading.Event | None = None,  # noqa: ARG002 (as the real one)
    ) -> Iterator[list[Rec]]:
        for tp, start in starts.items():
            found = self.topics.get(tp.topic, [])[start : None if ends is None else ends[tp]]
            self.read += len(found) if tp.topic == self.settings.topic(RAW) else 0
            self.typed_read += len(found) if tp.topic != self.settings.topic(RAW) else 0
            yield found

    def window(self, position: int | None = None) -> DuplicateWindow:
        routing = Routing(CATALOG.events, dict.fromkeys(CATALOG.topics, 7), self.settings.topic, 10**7)
        raw = TopicPartition(self.settings.topic(RAW), 0)
        at = len(self._values) if position is None else position
        made = DuplicateRestore(self.settings, routing, self._refused(), threading.Event())
        windows, _ = made.windows({raw: at})
        if position is not None:
            made.refuse_unless_fitting({raw: at}, windows)
        return windows[0]

    def _refused(self) -> QuarantineReader:
        read = [(None, {"partition": 0, "offset": number}) for number in self.quarantined]
        return cast("QuarantineReader", Mock(**{"read.return_value": read}))

    def known(self) -> list[int]:
        window = self.window()
        return [n for n, value in enumerate(self._values) if window.body(f"e{n}") == body_hash(value)]


def test_an_event_without_a_typed_record_is_not_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in quarantine, or an operator has moved the group's offset over it."""
    assert Stored(monkeypatch, 4, {0, 2, 3}).known() == [0, 2, 3]


@pytest.mark.parametrize("old", [990, 995])
def test_one_record_of_long_ago_does_not_make_it_read_a_whole_topic(monkeypatch: pytest.MonkeyPatch, old: int) -> None:
    """Nor does it hide the typed record of that one, also where its topic has no other in the window's range."""
    monkeypatch.setattr(duplicate_restore, "_LEAST_SPAN", 5)
    stored = Stored(monkeypatch, 1000, {number for number in range(1000) if number % 2 == 0 or number in (old, 101)})
    for records in stored.topics.values():
        records[:] = [
            Rec(index, record.value_, record.topic(), timestamp_=1, headers_=record.headers_)
            if record.timestamp()[1] == 1000 + old
            else record
            for index, record in enumerate(records)
        ]
    known = stored.known()
    assert old in known
    assert len(known) >= 10
    assert stored.typed_read < 100


def test_typed_records_of_a_raw_topic_that_was_deleted_are_of_other_events(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = Stored(monkeypatch, 4, {0, 2})
    [topic] = [topic for topic in stored.topics if topic.endswith("transfer")]
    stored.topics[topic].append(Rec(0, b"", topic, timestamp_=1500, headers_={"raw_offset": b"1"}))
    assert stored.known() == [0, 2]


@pytest.mark.parametrize(
    ("count", "every", "known", "read"),
    [
        (100, 1, 10, 10),  # each is typed: hardly more than the window's size
        (100, 2, 15, 10 + 30),  # every other one: further back for the window's size
        (15, 4, 4, 10 + 15),  # all that there is
        (1000, 40, 2, 10 + 30 + 80),  # seldom one: no further than that
    ],
)
def test_the_window_is_of_typed_events(
    monkeypatch: pytest.MonkeyPatch, count: int, every: int, known: int, read: int
) -> None:
    typed = range(0, count, every)
    stored = Stored(monkeypatch, count, typed)
    assert stored.known() == [*typed][-known:]
    assert stored.read == read


@pytest.mark.parametrize(
    ("typed", "quarantined", "position", "refusal"),
    [
        ({0, 1, 2}, {3}, 4, None),  # where the outputs end
        ({0, 1, 2}, set(), 4, r"1 records before it, from 3 on, have no output and would be lost"),
        ({0, 1, 2, 3}, set(), 2, r"the record at 2 has an output, which the router would write again"),
        ({0, 1}, {3}, 2, r"the record at 3 has an output"),
        (set(), set(), 0, None),
        ({0}, set(), 0, r"the record at 0 has an output"),
    ],
)
def test_an_offset_that_no_worker_has_committed_has_to_fit_the_outputs(
    typed: set[int], quarantined: set[int], position: int, refusal: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = Stored(monkeypatch, 6, typed)
    stored.quarantined = quarantined
    if refusal is None:
        stored.window(position)
    else:
        with pytest.raises(
            OperatorActionRequired, match=rf"broker\.raw\[0\]: the offset {position} .*{refusal}.*offsets accept"
        ):
            stored.window(position)


def test_duplicates_behind_the_last_output_are_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = Stored(monkeypatch, 6, {0, 1, 2})
    raw = stored.topics[stored.settings.topic(RAW)]
    raw[3] = Rec(3, raw[1].value(), raw[1].topic(), timestamp_=1003)
    stored.window(4)
