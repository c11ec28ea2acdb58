"""Trace of an event, from the records found in the topics."""

from __future__ import annotations

from typing import Any

from broker_events.audit.event_trace import Decoded, EventRecords, mentions, steps
from broker_events.schemas.models import Alert, Credit, QuarantinedEvent, QuarantineRecovery

AT_MS = 1_769_851_801_500  # 2026-01-31T09:30:01.5Z


class Rec:
    """A record of partition 0."""

    def __init__(self, topic: str, offset: int, value: bytes = b"", at_ms: int = AT_MS, **headers: bytes) -> None:
        self._topic, self._offset, self._value, self._at_ms, self._headers = topic, offset, value, at_ms, headers

    def __len__(self) -> int:
        return len(self._value)

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return b"ACC-1"

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]]:
        return [*self._headers.items()]

    def timestamp(self) -> tuple[int, int]:
        return 1, self._at_ms


def raw(offset: int, body: bytes = b"{}", **headers: bytes) -> Rec:
    return Rec("broker.raw", offset, b'{"id":"e","payload":' + body + b"}", AT_MS + offset, **headers)


def typed(offset: int, raw_offset: int) -> Decoded:
    members: dict[str, Any] = dict.fromkeys(Credit.model_fields)
    event = Credit.model_construct(**members | {"event_id": "e", "event_time_text": "2026-01-31T09:30:00Z"})
    record = Rec("broker.event.credit", offset, at_ms=AT_MS + raw_offset, raw_offset=b"%d" % raw_offset)
    return Decoded(record, event)


def refused(offset: int, raw_offset: int) -> Decoded:
    members: dict[str, Any] = dict.fromkeys(QuarantinedEvent.model_fields)
    members |= {"topic": "broker.raw", "partition": 0, "offset": raw_offset, "reason": "bad_amount", "headers": ()}
    record = Rec("broker.quarantine", offset, at_ms=AT_MS + 1000)
    return Decoded(record, QuarantinedEvent.model_construct(**members))


def test_a_simulated_event_says_so_in_each_step() -> None:
    found = EventRecords(raw=[raw(0, simulated=b"true"), raw(1)], decoded=[typed(0, 0)])
    marked = [step.place for step in steps("e", found) if step.facts.get("simulated") == "true"]
    assert marked == ["broker.raw[0]@0"]


def outcomes(found: EventRecords) -> list[str]:
    return [step.facts["outcome"] for step in steps("e", found) if step.what.startswith("received")]


def test_what_became_of_each_raw_record() -> None:
    records = [raw(0), raw(1), raw(2, b'{"a":1}'), raw(3, b'{"a":2}'), raw(4)]
    found = EventRecords([*records], [typed(7, 0), refused(9, 2)], {0: 4})
    assert outcomes(found) == [
        "typed as broker.event.credit[0]@7",
        "duplicate of broker.raw[0]@0",
        "quarantined as broker.quarantine[0]@9",
        "no output is left: `broker-events ledger` shows whether it is lost or deleted by retention",
        "not routed yet",
    ]


def test_steps_are_in_the_order_of_time() -> None:
    found = EventRecords([raw(0, received_at=b"2026-01-31T09:30:01.400000Z")], [refused(9, 0), typed(7, 0)], {0: 9})
    assert [(step.at_us, step.what, step.place) for step in steps("e", found)] == [
        (1_769_851_800_000_000, "happened", None),
        (1_769_851_801_400_000, "received", "broker.raw[0]@0"),
        (1_769_851_801_500_000, "typed", "broker.event.credit[0]@7"),
        (1_769_851_802_500_000, "quarantined", "broker.quarantine[0]@9"),
    ]


def test_what_has_the_same_millisecond_is_in_the_order_of_the_data_flow() -> None:
    received_at = b"2026-01-31T09:30:01.500900Z"  # Kafka's timestamps end with the millisecond
    members: dict[str, Any] = dict.fromkeys(Alert.model_fields)
    alert = Alert.model_construct(**members | {"event_id": "e", "status": "FIRING"})
    firing = Decoded(Rec("broker.alerts", 3), alert)
    way = steps("e", EventRecords([raw(0, received_at=received_at)], [firing, typed(7, 0)], {0: 9}))
    assert [(step.at_us % 1_000_000, step.what) for step in way] == [
        (0, "happened"),
        (500_900, "received"),
        (500_900, "typed"),
        (500_000, "caused alert FIRING"),
    ]


def test_a_replayed_record_comes_after_its_rejection() -> None:
    received_at = b"2026-01-31T09:30:01.499000Z"  # a replayed record has the header of the first one
    again = raw(5000, received_at=received_at, recovered_from=b"broker.quarantine/0/9", raw_offset=b"0")
    members: dict[str, Any] = dict.fromkeys(QuarantineRecovery.model_fields)
    audit = Rec("broker.quarantine.recoveries", 1, at_ms=AT_MS + 5000)
    replayed = Decoded(audit, QuarantineRecovery.model_construct(**members))
    found = EventRecords([raw(0, received_at=received_at), again], [typed(7, 5000), replayed, refused(9, 0)], {0: 9999})
    assert [step.what for step in steps("e", found)] == [
        "happened",
        "received",
        "quarantined",
        "replayed from quarantine",
        "received again, from quarantine",
        "typed",
    ]


def test_a_record_that_came_back_from_quarantine() -> None:
    [step] = steps("e", EventRecords([raw(3, recovered_from=b"broker.quarantine/0/1", raw_offset=b"0")], [], {0: 9}))
    assert step.what == "received again, from quarantine"
    assert step.facts["recovered_from"] == "broker.quarantine/0/1"


def test_where_a_record_mentions_an_event() -> None:
    record = {"event_id": "e", "history": [{"event_id": "x"}, {"event_id": "e"}], "note": "not e"}
    assert [*mentions("e", record)] == ["/event_id", "/history/1/event_id"]
