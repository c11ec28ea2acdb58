"""Writes a source's events to the raw topic; events and the source's cursors commit in one transaction.

Two threads work besides the caller's. The receiver reads the source and waits while the queue is full. The writer owns
the transaction. The caller's thread only waits, so a stop is in time even while the other two are blocked.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from confluent_kafka import KafkaException

from broker_events.ingest.cursors import NO_STREAM, PARTITION, Cursor, cursor_key, read_positions
from broker_events.ingest.cursors import TOPIC as CURSORS
from broker_events.ingest.handoff_queue import HandoffQueue
from broker_events.ingest.intake_metrics import IntakeMetrics
from broker_events.ingest.marker import to_marker
from broker_events.ingest.raw_record import RawRecord, to_raw
from broker_events.ingest.sources.source import EventSource, Received
from broker_events.runtime.consume.commit_rule import CommitRule
from broker_events.runtime.kafka.acls import verify_access
from broker_events.runtime.kafka.clients import admin_client
from broker_events.runtime.kafka.cluster_clock import ClusterClock
from broker_events.runtime.kafka.topics import plan_topics, verify_topics
from broker_events.runtime.kafka.transaction import Transaction
from broker_events.runtime.process.errors import Fenced, RestartRequired
from broker_events.runtime.process.health import Health
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.process.retry import keep_trying
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import RAW, Catalog
from broker_events.schemas.oversized import ERROR

log = logging.getLogger(__name__)

ROLE: Final = "bridge"
# Below the time that a process gets to stop (runtime.process). Events not committed by then are received again.
STOP_LIMIT_S: Final = 8.0
_POLL_S: Final = 0.2
# Events that wake the writer before a commit is due: single events don't wake it, a burst does.
_WAKE_EVENTS: Final = 200
# Header names and record framing, which Kafka counts as well.
_OVERHEAD_BYTES: Final = 4096
# The bridge ignores longer positions: neither a cursor nor the next subscription could hold them.
_CURSOR_CHARS: Final = 65_536


def largest_event(settings: Settings) -> int:
    """Return the most bytes of value, key and header values of a raw record; a larger event gets a marker."""
    return settings.max_message_bytes - _OVERHEAD_BYTES


class Bridge:
    """Runs one source once: `run` returns when the source is exhausted or a stop is requested."""

    def __init__(
        self, settings: Settings, source: EventSource, catalog: Catalog, metrics: Metrics, health: Health
    ) -> None:
        self.committed = 0
        self.markers = 0
        self._settings = settings
        self._source = source
        self._catalog = catalog
        self._counts = IntakeMetrics(metrics, catalog, settings)
        self._health = health
        self._raw_topic = settings.topic(RAW)
        self._largest = largest_event(settings)
        self._cursor_topic = settings.topic(CURSORS)
        self._queue = HandoffQueue()
        self._commit_rule = CommitRule(
            settings.commit_interval_ms / 1000, settings.transaction_records, settings.transaction_timeout_ms / 1000
        )
        self._clock = ClusterClock(settings.max_clock_skew_s)
        self._committed_at = 0.0  # monotonic
        self._positions: dict[str, str] = {}
        self._moved: dict[str, Cursor] = {}
        self._exhausted = False
        self._failure: BaseException | None = None

    def run(self, stop: threading.Event, tick: Callable[[], None] = lambda: None) -> None:
        """Bridge until the source ends or `stop` is set; calls `tick` five times per second.

        Raises Fenced when another bridge of this source has started, RestartRequired when Kafka is unavailable for too
        long, OperatorActionRequired when an operator must act. Events received before an error of the source commit.
        """
        writer = threading.Thread(target=self._guard, args=(self._write, stop), name="writer", daemon=True)
        writer.start()
        while writer.is_alive() and not stop.is_set():
            writer.join(_POLL_S)
            tick()
        self._source.stop()
        writer.join(STOP_LIMIT_S)
        self._queue.close()
        tick()
        if writer.is_alive():
            log.warning("Kafka did not answer within %g s; events not committed will be received again", STOP_LIMIT_S)
        elif self._failure is not None:
            raise self._failure

    def _guard(self, work: Callable[..., None], *arguments: object) -> None:
        try:
            work(*arguments)
        except BaseException as error:  # noqa: BLE001 (raised again by `run`, on the caller's thread)
            self._failure = self._failure or error
            self._exhausted = True

    def _write(self, stop: threading.Event) -> None:
        """Own the transaction: the writer thread."""
        name = self._source.name
        admin, plans = admin_client(self._settings), plan_topics(self._catalog, self._settings)
        verify_access(admin, self._settings, ROLE, [plan.name for plan in plans])
        verify_topics(admin, plans)
        transaction = Transaction(self._settings, f"{self._settings.topic_prefix}.ingest.{name}")
        try:
            transaction.init()
            transaction.begin()
            self._commit(transaction)  # of no event: it compares the clocks
            self._positions = keep_trying(
                f"topic {self._cursor_topic}",
                lambda: read_positions(self._settings, name),
                self._settings.start_timeout_s,
                (RestartRequired,),  # a topic created just now has no leader yet
            )
            threading.Thread(target=self._guard, args=(self._receive,), name="receiver", daemon=True).start()
            while not stop.is_set():
                self._health.beat()
                finished = self._exhausted  # read before the queue, which holds all that came earlier
                if transaction.is_open:
                    # Each commit costs Kafka the same, however few events it has, and makes the routers commit too.
                    rest_s = self._committed_at + self._commit_rule.rest_s - time.monotonic()
                    events = self._queue.take(min(max(rest_s, 0), _POLL_S), _WAKE_EVENTS)
                else:
                    events = self._queue.take(_POLL_S)
                if events:
                    self._add(transaction, events)
                elif finished:
                    break
                else:
                    transaction.poll()
                self._commit_if_due(transaction)
            self._commit(transaction)
        except Fenced as error:
            raise Fenced(f"another bridge of source {name} has taken over ({error})") from None
        except KafkaException as error:
            raise RestartRequired(f"Kafka producer: {error}") from None
        finally:
            self._queue.close()
            transaction.abort()

    def _receive(self) -> None:
        """Fill the queue: the receiver thread."""
        for received in self._source.receive(self._resume):
            if not self._queue.put(received):
                return
        self._exhausted = True

    def _resume(self) -> Mapping[str, str]:
        self._queue.wait_until_handed_on()
        return dict(self._positions)

    def _add(self, transaction: Transaction, events: list[Received]) -> None:
        """Produce the events, committing whenever a transaction is full."""
        name = self._source.name
        for received in events:
            record = None if received.whole else to_raw(received, name)
            if record is None or record.size > self._largest:
                record = to_marker(received, name, self._largest)
                self._report(record)
            transaction.begin()
            transaction.produce(
                self._raw_topic,
                record.value,
                record.key,
                headers=record.headers,
                timestamp=received.received_at // 1000,
            )
            stream, position = received.checkpoint or (
                received.event_type or record.event_type,
                received.position or record.position,
            )
            if stream and position and len(stream) + len(position) <= _CURSOR_CHARS:
                self._positions[stream] = position
                self._moved[stream] = Cursor(position, record.event_id, received.received_at)
            self._counts.received(record, received)
            if transaction.records >= self._settings.transaction_records:
                self._commit(transaction)

    def _report(self, marker: RawRecord) -> None:
        """Log and count a marker."""
        found = {name: str(value, "utf-8") for name, value in marker.headers if isinstance(value, bytes)}
        log.warning("an event is too large, the raw topic gets a marker in its place: %s", found[ERROR])
        self._counts.oversized(marker)
        self.markers += 1

    def _commit_if_due(self, transaction: Transaction) -> None:
        now = time.monotonic()
        at_end = self._queue.is_empty() and now - self._committed_at >= self._commit_rule.rest_s
        if transaction.is_open and self._commit_rule.is_due(
            now - transaction.opened_at, transaction.records, at_end=at_end
        ):
            self._commit(transaction)

    def _commit(self, transaction: Transaction) -> None:
        if not transaction.is_open:
            return
        name = self._source.name
        moved: dict[str, Cursor] | dict[str, None] = self._moved or {NO_STREAM: None}
        for stream, cursor in moved.items():
            key, value = cursor_key(name, stream), None if cursor is None else cursor.encode()
            transaction.produce(self._cursor_topic, value, key, PARTITION, delivered=self._clock.sent())
        began = time.monotonic()
        try:
            transaction.await_reports()
            self._clock.verify()
            transaction.commit()
        except Exception:
            self._counts.failed()
            raise
        self._committed_at = time.monotonic()
        took_s = self._committed_at - began
        self._commit_rule.committed(took_s)
        self.committed += self._counts.committed(self._moved, began - transaction.opened_at, took_s)
        self._moved.clear()
