"""What the watcher counts, from records as a consumer gets them."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_events.devstack.balance import AlertSeen
from broker_events.devstack.counters import Repetitions, RunCounters, percentile
from broker_events.devstack.observer import Rates
from broker_events.devstack.pipeline import MOST_FAILURES, pause_before_restart
from broker_events.schemas.models import Alert, TransferEvidence


@dataclass
class FakeRecord:
    """A record with what the counters looks at."""

    value_: bytes | None = b"{}"
    key_: bytes | None = b"ACC-1"
    partition_: int = 0
    headers_: dict[str, bytes] = field(default_factory=dict)

    def topic(self) -> str:
        return "broker.raw"

    def partition(self) -> int:
        return self.partition_

    def offset(self) -> int:
        return 0

    def key(self) -> bytes | None:
        return self.key_

    def value(self) -> bytes | None:
        return self.value_

    def __len__(self) -> int:
        return len(self.value_ or b"")

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return list(self.headers_.items()) or None

    def timestamp(self) -> tuple[int, int]:
        return 1, 0


def event(event_id: str, amount: str = "1") -> bytes:
    return f'{{"id":"{event_id}","event_type":"F","timestamp":"t","payload":{{"amount":"{amount}"}}}}'.encode()


def is_typed(value: bytes) -> bool:
    return value.startswith(b'{"id"')


def counted(*records: tuple[bytes | None, bytes, bytes | None]) -> tuple[int, int]:
    repetitions = Repetitions(is_typed)
    for record in records:
        repetitions.add(*record)
    return repetitions.distinct, repetitions.duplicates


@pytest.mark.parametrize(
    ("records", "distinct", "duplicates"),
    [
        ([(b"a", event("a"), b"k"), (b"b", event("b"), b"k")], 2, 0),
        ([(b"a", event("a"), b"k"), (b"a", event("a"), b"k"), (b"a", event("a"), b"k")], 1, 2),
        # Another body: a conflict, which is quarantined; the first body still counts.
        ([(b"a", event("a"), b"k"), (b"a", event("a", "2"), b"k"), (b"a", event("a"), b"k")], 2, 1),
        # Refused: quarantined each time.
        ([(b"a", b"{broken", b"k"), (b"a", b"{broken", b"k")], 1, 0),
        # No id at all: nothing says that it is the same event.
        ([(None, b"x", b"k"), (None, b"x", b"k")], 2, 0),
        # Without a key it is refused.
        ([(b"a", event("a"), None), (b"a", event("a"), None)], 1, 0),
    ],
)
def test_repetitions(records: list[tuple[bytes | None, bytes, bytes | None]], distinct: int, duplicates: int) -> None:
    assert counted(*records) == (distinct, duplicates)


def test_what_is_remembered_is_bounded() -> None:
    repetitions = Repetitions(is_typed, remembered=10)
    for number in range(1000):
        repetitions.add(b"%d" % number, event(str(number)), b"k")
    assert len(repetitions._bodies) == 10
    repetitions.add(b"999", event("999"), b"k")
    repetitions.add(b"0", event("0"), b"k")
    assert (repetitions.distinct, repetitions.duplicates) == (1001, 1)


@pytest.mark.parametrize("event_id", [None, b"never seen", b"a"])
def test_a_replayed_record_is_no_event_of_its_own(event_id: bytes | None) -> None:
    counters = RunCounters(is_typed)
    counters.raw(FakeRecord(event("a"), headers_={"event_id": b"a"}))
    by_id = {} if event_id is None else {"event_id": event_id}
    counters.raw(FakeRecord(b"{refused", headers_={**by_id, "recovered_from": b"broker.quarantine/0/7"}))
    numbers = counters.numbers()
    assert (numbers.raw, numbers.replayed, numbers.distinct, numbers.duplicates) == (2, 1, 1, 0)


def test_active_is_what_has_no_tombstone() -> None:
    counters = RunCounters(is_typed)
    for key, value in ((b"L/1/US", b"x"), (b"L/1/HK", b"x"), (b"L/1/US", b"y"), (b"L/1/HK", None), (b"L/2/US", None)):
        counters.active(FakeRecord(value_=value, key_=key))
    assert counters.numbers().active == {"L": 1}


def test_an_alert_shows_four_characters_of_the_account_and_how_late_it_came() -> None:
    counters = RunCounters(is_typed)
    at = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
    evidence: dict[str, Any] = {"amount": Decimal("1250.500000000000000000"), "currency": "USD"}
    members: dict[str, Any] = {
        "rule": "TRANSFER_RETURNED",
        "status": "FIRING",
        "account_key": "1234567890",
        "event_time": at,
        "transfer": TransferEvidence.model_construct(**evidence),
        "subject": "REQUEST-1",
    }
    alert = Alert.model_construct(**members)
    counters.alert(alert, at.timestamp() + 0.12)
    numbers = counters.numbers()
    assert numbers.alerts == {("TRANSFER_RETURNED", "FIRING"): 1}
    assert numbers.recent == (
        AlertSeen(at.timestamp() + 0.12, "RETURNED", "transfer of 1,250.5 USD came back, account …7890", 120),
    )
    assert numbers.latency_ms == (120, 120, 120)


@given(st.lists(st.integers(0, 500), min_size=1), st.sampled_from([0.01, 0.5, 0.99, 1.0]))
def test_percentiles_are_those_of_the_sorted_values(values: list[int], share: float) -> None:
    found = percentile(Counter(values), share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)


def test_without_alerts_there_is_no_latency() -> None:
    assert RunCounters(is_typed).numbers().latency_ms is None


def test_rates_are_those_of_the_last_seconds() -> None:
    rates, steps = Rates(), 200
    total = 0
    for step in range(steps + 1):
        per_s = 1000 if step < steps // 2 else 50
        rate = rates.add(step * 0.1, {"raw": total})["raw"]
        total += per_s // 10
    assert rate == pytest.approx(50)


def test_a_process_is_restarted_a_few_times_and_never_when_an_operator_must_act() -> None:
    pauses = [pause_before_restart(random.choice((70, 137, 1)), failures) for failures in range(1, MOST_FAILURES + 2)]  # noqa: S311
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, None]
    assert pause_before_restart(2, 1) is None
    assert pause_before_restart(3, 1) is None
