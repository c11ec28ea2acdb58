"""A record that this build can't process: the projector stops before it, and counts how often it has."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import confluent_kafka
import pytest
from click.testing import CliRunner
from confluent_kafka import KafkaError, KafkaException
from rules_events import CATALOG, account_update

from broker_events.cli.main import cli
from broker_events.processors import projector as projector_module
from broker_events.processors.fold import TypedTopic, typed_topics
from broker_events.processors.projector import Projector
from broker_events.runtime.consume import record_source
from broker_events.runtime.consume.failed_record import MOST_ATTEMPTS, RecordBlocks, RecordFailed
from broker_events.runtime.consume.offset_note import OffsetNote
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.consume.record_source import RecordSource
from broker_events.runtime.process.errors import OperatorActionRequired, RestartRequired
from broker_events.runtime.process.health import Health
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.process.operator import operator
from broker_events.runtime.quarantine import writer as quarantine_module
from broker_events.runtime.quarantine.writer import Quarantine
from broker_events.runtime.settings import Settings, load_settings
from broker_events.runtime.state.partition_state import PartitionState
from broker_events.schemas.codec import Codec

CODECS: dict[str, Codec[Any]] = {
    name: Codec(contract, 1) for name, (contract, _) in CATALOG.topics.items() if contract.schema
}
TOPIC = "broker.event.account-update"
TP = TopicPartition(TOPIC, 0)
SKIP = {"projector_skip": (f"{TOPIC}:0:3",), "projector_skip_reason": "why"}


class Update:
    """An ACCOUNT_UPDATE of an account of its own that says LIQUIDATE_ONLY; `value` and `key` replace what it has."""

    def __init__(self, offset: int, *value: bytes | None, key: bytes | None = b"") -> None:
        self._offset = offset
        event = account_update(["HK_STOCK_LIQUIDATE_ONLY"], ns=offset, event_id=f"e{offset}")
        self._value = value[0] if value else CODECS["event.account-update"].encode(event)
        self._key = f"ACC-{offset}".encode() if key == b"" else key

    def topic(self) -> str:
        return TOPIC

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 1, 1000

    def __len__(self) -> int:
        return len(self._value or b"")


def failing_at(event_id: str | None) -> dict[str, TypedTopic]:
    """The typed topics of a build with a defect that only this event meets; None: that every one meets."""
    typed = typed_topics(CATALOG, lambda name: f"broker.{name}", CODECS.__getitem__)
    projection = typed[TOPIC].projection

    def apply(state: Any, event: Any, *rest: Any) -> Any:
        if event_id in {None, event["event_id"]}:
            raise KeyError(f"about {event['event_id']}")
        return projection.apply(state, event, *rest)

    typed[TOPIC] = typed[TOPIC]._replace(projection=projection._replace(apply=apply))
    return typed


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Mock]:
    """Return what projects records with a build, and returns the transaction they were produced into."""
    monkeypatch.setattr(quarantine_module, "version", lambda _: "0")

    def project(records: list[Update], typed: dict[str, TypedTopic], **settings: Any) -> Mock:
        transaction, chosen = Mock(), Settings(**settings)
        quarantine = Quarantine(chosen, "projector", CODECS["quarantine"], Metrics(), Health(), {})
        tables: Any = {name: {0: PartitionState(CODECS[name])} for name in projector_module.TABLES}
        projector = Projector(
            chosen, typed, Mock(states=tables), CODECS["alerts"], quarantine, transaction, Metrics(), Mock()
        )
        try:
            projector.process(Mock(partitions={TP: records}))
        except RecordFailed as failed:
            transaction.failed = failed
        return transaction

    return project


def written(transaction: Mock, topic: str) -> list[tuple[Any, ...]]:
    return [call.args for call in transaction.produce.call_args_list if call.args[0] == f"broker.{topic}"]


def test_a_defect_of_a_rule_costs_no_alert(run: Callable[..., Mock]) -> None:
    records = [Update(offset) for offset in range(5000)]
    broken = run(records, failing_at(None))
    assert (broken.failed.tp, broken.failed.offset) == (TP, 0)
    broken.produce.assert_not_called()
    mended = run(records, failing_at("no event"))
    assert len(written(mended, "alerts")) == 5000
    assert not written(mended, "quarantine")


def test_a_skip_takes_that_record_alone(run: Callable[..., Mock]) -> None:
    transaction = run([Update(offset) for offset in range(6)], failing_at("e3"), **SKIP)
    assert len(written(transaction, "alerts")) == 5
    [(_, value, key, partition, headers)] = written(transaction, "quarantine")
    assert (key, partition, CODECS["quarantine"].decode(value)["offset"]) == (b"ACC-3", 0, 3)
    assert dict(headers) == {"skipped_by": operator(), "skip_reason": "why"}


def test_a_skip_leaves_the_next_failure_alone(run: Callable[..., Mock]) -> None:
    assert run([Update(offset) for offset in range(6)], failing_at("e4"), **SKIP).failed.offset == 4
    assert len(written(run([Update(3)], failing_at("no event"), **SKIP), "alerts")) == 1, "it doesn't fail any more"


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (Update(3, b"hello"), "undecodable: not in the Confluent wire format"),
        (Update(3, b"\x00\x00\x00\x00\x01\xff"), "undecodable: schema id 1: the body cannot be read"),
        (Update(3, key=b"\xff"), "undecodable"),
        (Update(3, None), "no_value"),
        (Update(3, key=None), "no_value"),
    ],
)
def test_what_is_no_typed_event_stops_it_too(run: Callable[..., Mock], record: Update, said: str) -> None:
    assert f"{TOPIC}[0]@3: {said}" in str(run([record], failing_at("no event")).failed)
    assert len(written(run([record], failing_at("no event"), **SKIP), "quarantine")) == 1


def test_a_codec_that_fails_in_any_way_stops_it(run: Callable[..., Mock]) -> None:
    typed, codec = failing_at("no event"), Mock(**{"decode.side_effect": KeyError("fastavro")})
    typed[TOPIC] = typed[TOPIC]._replace(codec=codec)
    assert "internal_error" in str(run([Update(3)], typed).failed)


def test_no_line_quotes_the_record(run: Callable[..., Mock], caplog: pytest.LogCaptureFixture) -> None:
    said = str(run([Update(3)], failing_at("e3")).failed)
    assert "about e3" not in said + caplog.text
    said = str(run([Update(3, Update(3).value()[:5] + b"\x04\xffx" * 9)], failing_at("e3")).failed)  # type: ignore[index]
    assert "xff" not in said


def counted(offset: int, attempts: int) -> str:
    return OffsetNote("id", failed_offset=offset, attempts=attempts).encode()


class Group:
    """A record source that has partition 0 assigned; the group's commit is `at` with `metadata`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, metadata: str = "") -> None:
        self.transaction = Mock(is_open=False, opened_at=0.0)
        self.transaction.commit.side_effect = lambda offsets, *_: self.commits.extend(offsets)
        self.commits: list[confluent_kafka.TopicPartition] = []
        found = Mock(topic=TOPIC, partition=0, offset=at, metadata=metadata)
        consumer = Mock(**{"committed.return_value": [found], "poll.return_value": None})
        consumer.committed.return_value[0].error = None
        monkeypatch.setattr(record_source, "make_client", lambda *_, **__: (consumer, None))
        monkeypatch.setattr(record_source, "start_offsets", lambda _, __, offsets, *___: offsets)
        monkeypatch.setattr(record_source, "TopicIdentity", Mock(return_value=Mock(ids={TOPIC: "id"})))
        monkeypatch.setattr(record_source, "SourceLag", Mock())
        mocks: Any = Mock(), self.transaction, Mock(), Mock(), Metrics(), Mock(), Mock()
        self.source = RecordSource(Settings(), "projector", [TOPIC], [], *mocks)
        self.source._on_assign(consumer, [confluent_kafka.TopicPartition(*TP)])
        self.source._restorer.wait(10)
        self.source._await_restore()

    def fail(self, offset: int) -> BaseException:
        """Return what the process ends with."""
        return self.source._abandon(RecordFailed(TP, offset, "internal_error"))

    def advance(self, offset: int) -> None:
        self.source._next_offsets[TP] = offset
        self.source._commit()

    @property
    def left(self) -> tuple[int, str | None]:
        return self.commits[-1].offset, self.commits[-1].metadata


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Group]]:
    loop = asyncio.new_event_loop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    yield lambda *of: Group(monkeypatch, *of)
    loop.close()


def test_it_is_counted_with_the_unmoved_offset_until_the_attempts_are_used_up(group: Callable[..., Group]) -> None:
    metadata: str | None = ""
    for attempt in range(1, MOST_ATTEMPTS + 1):
        worker = group(15, metadata)
        ended = worker.fail(17)
        assert isinstance(ended, RecordFailed)
        assert ended.exit_code == 70
        assert f"attempt {attempt} of {MOST_ATTEMPTS}" in str(ended)
        offset, metadata = worker.left
        assert (offset, metadata) == (15, counted(17, attempt))
    worker = group(15, metadata)
    ended = worker.fail(17)
    assert isinstance(ended, RecordBlocks)
    assert (ended.exit_code, worker.commits) == (3, [])
    assert f"--skip {TOPIC}:0:17:id --reason" in str(ended)


def test_the_count_is_of_one_record(group: Callable[..., Group]) -> None:
    worker = group(15, counted(17, 3))
    worker.fail(18)
    assert worker.left[1] == counted(18, 1)


def test_the_count_is_kept_until_the_record_is_passed(group: Callable[..., Group]) -> None:
    worker = group(15, counted(17, 2))
    worker.advance(17)
    assert worker.left == (17, counted(17, 2))
    worker.advance(18)
    assert worker.left == (18, OffsetNote("id").encode())
    worker.advance(19)
    assert worker.left == (19, OffsetNote("id").encode())


def test_nothing_of_the_batch_can_commit_with_the_count(group: Callable[..., Group]) -> None:
    worker = group(15)
    worker.source._next_offsets[TP] = 17
    worker.fail(17)
    worker.transaction.abort.assert_called_once()
    assert [tp.offset for tp in worker.commits] == [15]


@pytest.mark.parametrize("error", [KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION)), RestartRequired("away")])
def test_a_commit_that_fails_does_not_hide_the_first_error(
    group: Callable[..., Group], error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    worker = group(15)
    worker.transaction.commit.side_effect = error
    ended = worker.fail(17)
    assert isinstance(ended, RecordFailed)
    assert worker.transaction.abort.call_count == 2
    assert "was not counted" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR, "before the commit, which may end the process"


@pytest.mark.parametrize("place", ["17", "topic:1", "topic:one:2", "topic:1:-2", "a/b:1:2", "topic:01:2", ""])
def test_a_place_that_is_none_names_the_option(place: str) -> None:
    done = CliRunner().invoke(cli, ["projector", "--skip", place, "--reason", "why"])
    assert (done.exit_code, "'--skip'" in done.output) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "named"), [(["--skip", "topic:1:2"], "--reason"), (["--reason", "why"], "--skip")]
)
def test_the_options_go_together(arguments: list[str], named: str) -> None:
    done = CliRunner().invoke(cli, ["projector", *arguments])
    assert (done.exit_code, named in done.output) == (2, True)


@pytest.mark.parametrize(
    ("skip", "named"),
    [({"projector_skip": "topic:1"}, "PROJECTOR_SKIP"), ({"projector_skip": "topic:1:2"}, "PROJECTOR_SKIP_REASON")],
)
def test_the_settings_are_checked_too(skip: dict[str, str], named: str) -> None:
    with pytest.raises(OperatorActionRequired, match=named):
        load_settings(**skip)


def test_a_topic_that_no_projector_reads_is_refused() -> None:
    settings = Settings(projector_skip=("broker.raw:0:1",), projector_skip_reason="why")
    with pytest.raises(OperatorActionRequired, match=r"broker\.raw:0:1: no projector reads this topic"):
        projector_module.run(settings, threading.Event())


def test_a_place_takes_every_id_that_kafka_gives_a_topic() -> None:
    place = "test.event.credit:2:2:JfSHEXilTn6/E+MS9-v_Hw"
    assert Settings(projector_skip=(place,), projector_skip_reason="why").projector_skip == (place,)
