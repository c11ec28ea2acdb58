"""Offsets belong to one incarnation of a topic: what is committed beside them, and who notices another."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any
from unittest.mock import Mock

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

import broker_events.runtime.consume.topic_identity
import broker_events.runtime.kafka.transaction
from broker_events.runtime.consume.offset_note import OffsetNote, parse_note
from broker_events.runtime.consume.record import TopicPartition as Tp
from broker_events.runtime.consume.starting_offsets import foreign_offsets
from broker_events.runtime.consume.topic_identity import TopicIdentity
from broker_events.runtime.kafka.topic_reader import Committed
from broker_events.runtime.kafka.transaction import Transaction
from broker_events.runtime.process.errors import OperatorActionRequired, RestartRequired
from broker_events.runtime.settings import Settings

RAW = Tp("broker.raw", 0)


def test_a_note_is_small_json_and_anything_else_counts_as_none() -> None:
    assert OffsetNote(topic_id="x").encode() == '{"topic_id": "x"}'
    note = OffsetNote("x", "jo", "why \u00e4")
    assert parse_note(note.encode()) == note
    counted = OffsetNote("x", failed_offset=17, attempts=2)
    assert parse_note(counted.encode()) == counted
    assert parse_note('{"topic_id": "x", "of_another_version": 3}') == OffsetNote("x")
    for other in (None, "", "text", "[]", "3", '{"topic_id": 3, "failed_offset": "1", "attempts": null}'):
        assert parse_note(other) == OffsetNote()


def test_offsets_of_a_topic_that_was_created_again_are_refused() -> None:
    with pytest.raises(
        OperatorActionRequired, match=r"broker\.raw was deleted and created again: .* the topic id a, the topic has b"
    ):
        foreign_offsets("g", {RAW: Committed(7, OffsetNote("a"))}, {"broker.raw": "b"})


def test_what_an_operator_has_accepted_is_no_foreign_offset_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    other, none = Tp("broker.raw", 1), Tp("broker.raw", 2)
    found = {
        RAW: Committed(7, OffsetNote("a", "jo", "ticket 17")),
        other: Committed(3, OffsetNote()),
        none: Committed(-1001, OffsetNote()),
    }
    assert foreign_offsets("g", found, {"broker.raw": "a"}) == {other}
    assert "broker.raw[0]: the group g begins at 7, where jo has set it: ticket 17" in caplog.text


def answer(topic_id: str | None = None, code: int | None = None, partitions: int = 8) -> Any:
    future: Future[Any] = Future()
    if code is not None:
        future.set_exception(KafkaException(KafkaError(code)))
    else:
        future.set_result(Mock(topic_id=topic_id, partitions=[0] * partitions))
    return {"broker.raw": future}


def test_a_worker_notices_another_topic_and_no_topic_and_minds_no_missing_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    admin = Mock()
    monkeypatch.setattr(broker_events.runtime.consume.topic_identity, "AdminClient", lambda _config: admin)
    identity = TopicIdentity(Settings(), ["broker.raw"])
    admin.describe_topics.return_value = answer("a")
    identity.learn()
    identity.verify(identity.ask())
    identity.verify(answer(code=KafkaError.REQUEST_TIMED_OUT))
    with pytest.raises(OperatorActionRequired, match=r"broker\.raw has 9 partitions, PIPELINE_PARTITIONS says 8"):
        identity.verify(answer("a", partitions=9))
    with pytest.raises(OperatorActionRequired, match="created again"):
        identity.verify(answer("b"))
    with pytest.raises(RestartRequired, match=r"broker\.raw was deleted"):
        identity.verify(answer(code=KafkaError.UNKNOWN_TOPIC_OR_PART))


def test_after_a_missing_answer_a_new_client_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Mock(), Mock()
    create = Mock(side_effect=[first, second])
    monkeypatch.setattr(broker_events.runtime.consume.topic_identity, "AdminClient", create)
    identity = TopicIdentity(Settings(), ["broker.raw"])
    identity.verify(answer(code=KafkaError._TIMED_OUT))
    identity.ask()
    first.describe_topics.assert_not_called()
    second.describe_topics.assert_called_once()


def test_nothing_commits_of_another_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    producer = Mock()
    monkeypatch.setattr(broker_events.runtime.kafka.transaction, "Producer", lambda _config: producer)
    transaction = Transaction(Settings(), "broker.router.a")
    transaction.begin()
    with pytest.raises(OperatorActionRequired):
        transaction.commit([TopicPartition(*RAW, 1)], None, Mock(side_effect=OperatorActionRequired("another")))
    producer.send_offsets_to_transaction.assert_called_once()
    producer.commit_transaction.assert_not_called()
