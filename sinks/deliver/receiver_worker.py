"""What the deliveries of both kinds of receiver share: reading, committing, rebalances, the end.

Two threads work. The Kafka thread reads and commits, and may block on Kafka. The event loop sends. So a slow commit
stops no request, and a slow receiver no heartbeat.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Generic, TypeVar

from broker_events.runtime.consume.record import KafkaRecord
from broker_events.runtime.process.errors import RestartRequired
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.schema_ids import open_decoder
from broker_events.runtime.settings import Settings
from broker_events.schemas.codec import Codec, DecodeError, UnknownSchema
from broker_events.schemas.models import Alert
from broker_events.schemas.registry import RegistryError
from broker_events.schemas.storage_types import Delivery
from broker_events.sinks.deliver.delivery_record import AlertPlace, Attempts, Outcome, delivery
from broker_events.sinks.deliver.group import Fetched, ReceiverGroup
from broker_events.sinks.deliver.http_client import ReceiverClient
from broker_events.sinks.deliver.receivers import Receiver
from broker_events.sinks.deliver.window import Progress

log = logging.getLogger(__name__)

P = TypeVar("P")
T = TypeVar("T")

_POLL_S: Final = 0.05
_SETTLED_S: Final = 1.0
_LOOK_EVERY_S: Final = 2.0
# Below the time that a process gets to stop (runtime.process.lifecycle). What is in flight then is sent again.
_STOP_LIMIT_S: Final = 5.0


class ReceiverWorker(ABC, Generic[P]):
    """Runs one receiver. `P`: what a record becomes in the Kafka thread, before the event loop takes it."""

    def __init__(
        self,
        settings: Settings,
        receiver: Receiver,
        codec: Codec[Delivery],
        metrics: Metrics,
        stop: threading.Event,
        also: Sequence[str] = (),
    ) -> None:
        """`also`: see ReceiverGroup."""
        self.receiver, self.metrics = receiver, metrics
        self.is_ready = False
        self.beat_s = time.monotonic()
        self.group = ReceiverGroup(settings, receiver.name, codec, stop, self._on_assigned, self._on_revoked, also)
        self._stop = stop
        self._decoder = open_decoder(settings)
        self._kafka = ThreadPoolExecutor(1, f"kafka-{receiver.name}")
        self._outcomes: list[Delivery] = []
        self._committed: dict[int, Progress] = {}
        self._committed_s = self._looked_s = 0.0
        self._failure: BaseException | None = None
        for outcome in ("DELIVERED", "GIVEN_UP", "SKIPPED"):  # rate() needs an initial 0
            metrics.deliveries.labels(receiver.name, outcome)
        metrics.delivery_retries.labels(receiver.name)
        metrics.receiver_failing.labels(receiver.name)

    @abstractmethod
    def prepare(self, record: KafkaRecord) -> P:
        """Return what `admit` takes for a record; runs in the Kafka thread."""

    @abstractmethod
    def admit(self, prepared: list[P], ends: Mapping[int, int]) -> None:
        """Take records, and per partition of alerts the offset after what was read."""

    @abstractmethod
    def held(self) -> Sequence[int]:
        """Return the partitions of which no more may be read now."""

    @abstractmethod
    def begin(self, progress: Mapping[int, Progress], restored: Sequence[P]) -> None:
        """Begin with these partitions, and what `restore` returned."""

    def restore(self, progress: Mapping[int, Progress]) -> Sequence[P]:  # noqa: ARG002 (for a kind that has state)
        """Return what `begin` needs of earlier records; runs in the Kafka thread."""
        return ()

    def reached_end(self, topic: str, partition: int) -> None:
        """Note that everything of a partition has been read."""

    @abstractmethod
    def end(self) -> None:
        """Forget all partitions."""

    @abstractmethod
    def progress(self) -> dict[int, Progress]:
        """Return what to commit of each partition."""

    @abstractmethod
    async def send(self) -> None:
        """Send, until cancelled."""

    @abstractmethod
    async def quiet(self, limit_s: float) -> None:
        """Begin no request, and return when none is in flight; end those that take longer."""

    @abstractmethod
    def oldest_ms(self) -> int | None:
        """Return the record time of the oldest alert without an outcome, None if there is none."""

    @abstractmethod
    def waiting(self) -> int:
        """Return the number of alerts that were read and have no outcome."""

    def outcome(
        self,
        place: AlertPlace,
        outcome: Outcome,
        detail: str | None = None,
        attempts: Attempts = Attempts(),  # noqa: B008
    ) -> None:
        """Add a final outcome to the next commit."""
        if outcome == "GIVEN_UP":
            log.error("receiver %s: alert %s is given up: %s", self.receiver.name, place.name, detail)
        self._outcomes.append(delivery(self.receiver.name, place, outcome, detail, attempts))

    def fail(self, error: BaseException) -> None:
        """End the process with an error of a task of its own."""
        self._failure = self._failure or error

    def decoded(self, record: KafkaRecord) -> tuple[AlertPlace, Alert | str]:
        """Return an alert and its place, or why it can't be decoded.

        Raises RestartRequired without a registry, or where the registry has lost the schema: the alert must wait.
        """
        at = record.partition(), record.offset()
        try:
            alert = self._decoder.decode(record.value())
        except (RegistryError, UnknownSchema) as error:
            raise RestartRequired(f"looking up a schema: {error}") from None
        except DecodeError as error:
            return AlertPlace(*at, None, None, None), f"can't be decoded: {error}"
        if not isinstance(alert, Alert):
            return AlertPlace(*at, None, None, None), "is no alert"
        return AlertPlace(*at, alert.alert_id, alert.rule, alert.status), alert

    async def run(self) -> None:
        """Deliver until `stop` is set. Raises what ends the process."""
        self._loop = asyncio.get_running_loop()
        async with ReceiverClient(self.receiver) as self.client:
            sender = asyncio.create_task(self.send())
            try:
                await self._in_kafka(self.group.start)
                while not self._stop.is_set():
                    await self._round()
                    if sender.done():
                        sender.result()
                    if self._failure is not None:
                        raise self._failure
                self.is_ready = False
                await self.quiet(_STOP_LIMIT_S)
                await self._commit()
                await self._in_kafka(self.group.leave)
            except BaseException:
                self.is_ready = False
                await self._in_kafka(self.group.abandon)
                raise
            finally:
                sender.cancel()
                self._kafka.shutdown(wait=False)

    async def _round(self) -> None:
        held = self.held()
        prepared, fetched = await self._in_kafka(lambda: self._read(held))
        if self.group.has_partitions:
            self.admit(prepared, fetched.ends)
            for at in fetched.reached:
                self.reached_end(*at)
            is_settled = time.monotonic() - self._committed_s > _SETTLED_S
            if self._outcomes or is_settled or self.group.is_in_doubt:
                await self._commit()
        self.beat_s = time.monotonic()
        if self.beat_s - self._looked_s > _LOOK_EVERY_S:
            self._looked_s = self.beat_s
            await self._look()

    def _read(self, held: Sequence[int]) -> tuple[list[P], Fetched]:
        self.group.hold(held)
        fetched = self.group.poll(_POLL_S)
        return [self.prepare(record) for record in fetched.records], fetched

    async def _commit(self) -> None:
        outcomes, progress = self._to_commit()
        self._committed_s = time.monotonic()
        if outcomes or progress:
            await self._in_kafka(lambda: self._commit_now(outcomes, progress))

    def _to_commit(self) -> tuple[list[Delivery], dict[int, Progress]]:
        outcomes, self._outcomes = self._outcomes, []
        everything = self.group.is_in_doubt
        progress = {n: at for n, at in self.progress().items() if everything or at != self._committed.get(n)}
        return outcomes, progress

    def _commit_now(self, outcomes: list[Delivery], progress: Mapping[int, Progress]) -> None:
        began = time.monotonic()
        try:
            self.group.commit(outcomes, progress)
        except Exception:
            self.metrics.transactions.labels("failed").inc()
            raise
        self._committed.update(progress)
        self.metrics.transactions.labels("committed").inc()
        self.metrics.commit_seconds.observe(time.monotonic() - began)
        for each in outcomes:
            self.metrics.deliveries.labels(self.receiver.name, each["outcome"]).inc()

    async def _look(self) -> None:
        await self._in_kafka(self.group.verify_topic)
        name = self.receiver.name
        oldest_ms = self.oldest_ms()
        age_s = 0.0 if oldest_ms is None else max(time.time() - oldest_ms / 1000, 0.0)
        self.metrics.delivery_oldest.labels(name).set(age_s)
        self.metrics.delivery_waiting.labels(name).set(self.waiting())
        self.metrics.delivery_lag.labels(name).set(await self._in_kafka(self.group.behind))

    def _on_assigned(self, progress: Mapping[int, Progress]) -> None:
        """In the Kafka thread."""
        restored = self.restore(progress)

        async def begin() -> None:
            self.begin(progress, restored)
            self._committed = {}  # a new group commits where it begins
            self.is_ready = True

        asyncio.run_coroutine_threadsafe(begin(), self._loop).result()

    def _on_revoked(self) -> None:
        """In the Kafka thread: return when nothing is in flight and what is finished is committed."""

        async def finish() -> tuple[list[Delivery], dict[int, Progress]]:
            self.is_ready = False
            await self.quiet(self.receiver.timeout_s + 1)
            found = self._to_commit()
            self.end()
            return found

        outcomes, progress = asyncio.run_coroutine_threadsafe(finish(), self._loop).result()
        if outcomes or progress:
            self._commit_now(outcomes, progress)

    async def _in_kafka(self, call: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._kafka, call)
