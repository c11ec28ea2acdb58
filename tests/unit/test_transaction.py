"""What a transaction makes of the producer's answers; against a real broker it is in tests/broker."""

from __future__ import annotations

import time
from typing import Any
from unittest.mock import Mock

import pytest
from confluent_kafka import KafkaError, KafkaException

import broker_events.runtime.kafka.transaction
from broker_events.runtime.kafka.transaction import RecordRefused, Transaction
from broker_events.runtime.process.errors import Fenced, RestartRequired
from broker_events.runtime.process.running_clock import running_s
from broker_events.runtime.settings import Settings
from broker_events.schemas.invalid_event import Reason


class Queue:
    """A producer that can't get rid of `left` records."""

    def __init__(self, left: int) -> None:
        self.left = left

    def flush(self, _timeout_s: float) -> int:
        return self.left


def transaction(monkeypatch: pytest.MonkeyPatch, left: int) -> Transaction:
    def producer(_config: dict[str, Any]) -> Queue:
        return Queue(left)

    monkeypatch.setattr(broker_events.runtime.kafka.transaction, "Producer", producer)
    return Transaction(Settings(), "broker.rebuild")


def test_a_flush_that_leaves_records_behind_is_no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RestartRequired, match="flush: Kafka has not taken 3 records within"):
        transaction(monkeypatch, 3).flush()


def test_a_flush_that_leaves_none_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    transaction(monkeypatch, 0).flush()


class Unusable:
    """A producer that refuses every call for a fatal error; the poll number `tells` says which one."""

    def __init__(self, tells: int) -> None:
        self._tells = tells

    def begin_transaction(self) -> None:
        raise KafkaException(KafkaError(KafkaError._FATAL))

    def poll(self, _timeout_s: float) -> None:
        self._tells -= 1
        if not self._tells:
            raise KafkaException(KafkaError(KafkaError._FENCED, "fenced by a newer instance", fatal=True))


def test_a_fatal_error_is_known_by_its_own_name_even_when_that_comes_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_events.runtime.kafka.transaction, "Producer", lambda _config: Unusable(2))
    with pytest.raises(Fenced, match="begin_transaction: another process has taken over the transactional id"):
        Transaction(Settings(), "broker.router.a").begin()


def test_a_fatal_error_that_a_poll_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_events.runtime.kafka.transaction, "Producer", lambda _config: Unusable(1))
    with pytest.raises(Fenced, match="poll: another process has taken over the transactional id"):
        Transaction(Settings(), "broker.router.a").poll()


class Refusing:
    """A producer whose transaction has met a refused record: it names the record's error where a commit is tried."""

    def begin_transaction(self) -> None:
        pass

    def produce(self, *_record: object) -> None:
        raise KafkaException(KafkaError(KafkaError._STATE))

    def commit_transaction(self, _timeout_s: float) -> None:
        raise KafkaException(KafkaError(KafkaError.INVALID_TIMESTAMP, "too far", txn_requires_abort=True))


def test_a_refused_record_is_known_at_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_events.runtime.kafka.transaction, "Producer", lambda _config: Refusing())
    transaction = Transaction(Settings(), "broker.router.a")
    transaction.begin()
    with pytest.raises(RecordRefused, match="produce: Kafka refuses the derived record: too far") as refused:
        transaction.produce("topic", b"", b"")
    assert refused.value.problem.reason is Reason.BAD_TIME


class Dazed(Unusable):
    """confluent-kafka raises SystemError where a callback meets a second error."""

    def poll(self, timeout_s: float) -> None:
        super().poll(timeout_s)
        raise SystemError("returned a result with an exception set")

    def purge(self) -> None:
        pass

    def abort_transaction(self, _timeout_s: float) -> None:
        raise SystemError("returned a result with an exception set")


def test_a_system_error_of_the_client_hides_no_fatal_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_events.runtime.kafka.transaction, "Producer", lambda _config: Dazed(3))
    dazed = Transaction(Settings(), "broker.router.a")
    with pytest.raises(Fenced, match="poll: another process has taken over"):
        dazed.poll()
    with pytest.raises(RestartRequired, match="poll: returned a result"):
        dazed.poll()
    dazed.is_open = True
    dazed.abort()
    assert not dazed.is_open


@pytest.mark.parametrize("suspended_s", [0.0, 2.0], ids=["running", "suspended"])
def test_a_producer_that_the_broker_fences_by_time_out_has_no_successor(
    monkeypatch: pytest.MonkeyPatch, suspended_s: float
) -> None:
    """Kafka gives the error of a fenced producer also to one whose transaction it has aborted: a restart is right.

    The monotonic clock stands still while the machine is suspended.
    """
    monkeypatch.setattr(broker_events.runtime.kafka.transaction, "Producer", lambda _config: Unusable(1))
    stalled = Transaction(Settings(transaction_timeout_ms=2000), "broker.router.a")
    stalled.is_open, stalled._opened_at_s = True, running_s() - 2.1
    stalled.opened_at = time.monotonic() - 2.1 + suspended_s
    with pytest.raises(RestartRequired, match=r"poll: the transaction was open for 2\.1 s, .* aborts it after 2 s"):
        stalled.poll()


def test_a_clock_that_jumps_is_no_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    producer = Mock()
    monkeypatch.setattr(broker_events.runtime.kafka.transaction, "Producer", lambda _config: producer)
    fenced = Transaction(Settings(transaction_timeout_ms=2000), "broker.router.a")
    fenced.begin()
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s + 3600)
    producer.poll.side_effect = KafkaException(KafkaError(KafkaError._FENCED, fatal=True))
    with pytest.raises(Fenced):
        fenced.poll()
