"""The duplicate windows' memory, read from stored records: what a restart must know."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any, cast

import pytest
from test_audit_books import Rec

from processors import history
from processors.history import History
from processors.routing import Routing
from runtime import quarantine_reader
from runtime.errors import SettingsError
from runtime.quarantine_reader import QuarantineReader
from runtime.record import TopicPartition
from runtime.settings import Settings
from schemas.body_hash import body_hash
from schemas.catalog import RAW, load_catalog
from schemas.codec import Codec
from schemas.duplicate_window import DuplicateWindow
from schemas.records import QuarantinedEvent
from schemas.registry import SchemaNotRegistered

CATALOG = load_catalog()
QUARANTINED = CATALOG.contracts["quarantined-event"]
PRESENT, FORMER = 7, 99
EVENT = {"event_type": "FUNDING", "timestamp": "2026-01-01T00:00:00Z", "payload": {"biz_type": "CREDIT"}}


def quarantined(settings: Settings, offset: int) -> QuarantinedEvent:
    unknown = ("detail", "key", "value", "event_id", "event_type", "biz_type", "recovered_from", "recovery_id")
    event: Any = dict.fromkeys(unknown) | {"reason": "internal_error", "stage": "router", "pointer": "", "headers": []}
    event |= {"topic": settings.topic(RAW), "partition": 0, "offset": offset, "timestamp": 0, "worker": "w"}
    return cast("QuarantinedEvent", event)


class Stored:
    """What Kafka and the registry hold: so many raw events of partition 0, the refused of them in quarantine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int, refused: set[int], size: int = 10) -> None:
        self.settings = Settings(duplicate_window=size)
        self.knows_former = True
        self.read = 0
        self._raw = [json.dumps(EVENT | {"id": f"e{number}"}).encode() for number in range(count)]
        codec: Codec[QuarantinedEvent] = Codec(QUARANTINED, FORMER)
        self._quarantine = [codec.encode(quarantined(self.settings, offset)) for offset in sorted(refused)]
        for module in (history, quarantine_reader):
            monkeypatch.setattr(module, "read_to_end", self._read_to_end)
        monkeypatch.setattr(history, "first_offsets", lambda _, partitions: dict.fromkeys(partitions, 0))
        monkeypatch.setattr(history, "offsets_at", lambda _, partitions, __: dict.fromkeys(partitions, 0))
        monkeypatch.setattr(quarantine_reader, "open_registry", lambda _: self)
        monkeypatch.setattr("runtime.schema_lookup._PAUSES", ())

    def schema_text(self, schema_id: int) -> str:
        if not self.knows_former:
            raise SchemaNotRegistered(f"no schema with the id {schema_id}")
        assert QUARANTINED.schema_text is not None
        return QUARANTINED.schema_text

    def _read_to_end(
        self,
        _: Settings,
        starts: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int] | None = None,
        stop: threading.Event | None = None,  # noqa: ARG002 (as the real one)
    ) -> Iterator[list[Rec]]:
        for tp, start in starts.items():
            stored = self._raw if tp.topic == self.settings.topic(RAW) else self._quarantine
            end = len(stored) if ends is None else ends[tp]
            self.read += (end - start) if stored is self._raw else 0
            yield [Rec(offset, stored[offset], tp.topic) for offset in range(start, end)]

    def reader(self) -> QuarantineReader:
        return QuarantineReader(self.settings, CATALOG, PRESENT, "router", self.settings.topic(RAW))

    def window(self) -> DuplicateWindow:
        routing = Routing(CATALOG.events, dict.fromkeys(CATALOG.topics, PRESENT), self.settings.topic, 10**7)
        raw = TopicPartition(self.settings.topic(RAW), 0)
        windows, _ = History(self.settings, routing, self.reader(), threading.Event()).windows({raw: len(self._raw)})
        return windows[0]

    def knows(self, window: DuplicateWindow, number: int) -> bool:
        return window.body(f"e{number}") == body_hash(self._raw[number])


def test_a_refused_event_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = Stored(monkeypatch, 3, {1})
    window = stored.window()
    assert [stored.knows(window, number) for number in range(3)] == [True, False, True]


@pytest.mark.parametrize(
    ("count", "every", "known", "read"),
    [
        (100, 1, 20, 20),  # each is typed: the last two generations
        (100, 4, 20, 20 + 80),  # one of four: further back for the window's size
        (15, 4, 4, 15),  # all that there is
        (1000, 40, 2, 20 + 80),  # seldom one: no further than 8 times the size
    ],
)
def test_the_window_is_of_typed_events(
    monkeypatch: pytest.MonkeyPatch, count: int, every: int, known: int, read: int
) -> None:
    stored = Stored(monkeypatch, count, {number for number in range(count) if number % every})
    window = stored.window()
    typed = range(0, count, every)
    assert [number for number in range(count) if stored.knows(window, number)] == [*typed][-known:]
    assert stored.read == read


def test_a_quarantine_record_of_a_schema_that_is_gone_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = Stored(monkeypatch, 3, {1})
    stored.knows_former = False
    with pytest.raises(SettingsError, match=r"quarantine\[0\]@0: .* id 99; .* register that schema again"):
        stored.window()


def test_whoever_can_do_without_it_is_warned(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    stored = Stored(monkeypatch, 3, {1})
    stored.knows_former = False
    assert list(stored.reader().read({TopicPartition(stored.settings.topic("quarantine"), 0): 0})) == []
    assert "no schema with the id 99" in caplog.text
