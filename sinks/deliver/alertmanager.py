"""Delivers alerts to one Alertmanager, or to all of one cluster: the whole set again and again, a change at once."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, Final, NamedTuple

from broker_events.runtime.consume.record import KafkaRecord, TopicPartition
from broker_events.runtime.kafka.topic_reader import offsets_at, read_to_end
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.settings import Settings
from broker_events.schemas.codec import Codec
from broker_events.schemas.storage_types import Delivery
from broker_events.sinks.deliver.alertmanager_changes import MOST_CHANGES, Assignment, Change, Finished, Held
from broker_events.sinks.deliver.alertmanager_set import OCCURRENCE, entry
from broker_events.sinks.deliver.interest import unwanted
from broker_events.sinks.deliver.receiver_worker import ReceiverWorker
from broker_events.sinks.deliver.receivers import ALERTS, Receiver
from broker_events.sinks.deliver.retry_rule import Answer, Verdict, verdict
from broker_events.sinks.deliver.window import Progress

log = logging.getLogger(__name__)

ACTIVE: Final = "alerts.active"
_PATH: Final = "/api/v2/alerts"
_BATCH: Final = 500
_WAIT_S: Final = 0.05
_PAUSES_S: Final = (1, 2, 5, 10, 30)


class Sent(NamedTuple):
    """Result of a POST of several batches: the answer of the last one, and the alerts that were rejected."""

    answer: Answer
    rejected: list[dict[str, Any]]


class AlertmanagerDelivery(ReceiverWorker[Change | Held]):
    """Sends each change at once, and the whole set at each interval."""

    def __init__(
        self, settings: Settings, receiver: Receiver, codec: Codec[Delivery], metrics: Metrics, stop: threading.Event
    ) -> None:
        super().__init__(settings, receiver, codec, metrics, stop, (settings.topic(ACTIVE),))
        self._settings = settings
        self._urls = [url.rstrip("/") + _PATH for url in receiver.addresses()]
        self._interval = timedelta(seconds=receiver.interval_s)
        self._active_topic = settings.topic(ACTIVE)
        self._assignment = Assignment(self._interval, {})
        self._sending: asyncio.Task[float] | None = None

    def prepare(self, record: KafkaRecord) -> Change | Held:
        raised_ms = record.timestamp()[1]
        dedup_key = (record.key() or b"").decode("utf-8", "replace")
        if record.topic() == self._active_topic and record.value() is None:
            return Held(record.partition(), dedup_key, None)
        place, alert = self.decoded(record)
        if isinstance(alert, str):
            if record.topic() == self._active_topic:
                log.error("receiver %s: alerts.active %s: %s", self.receiver.name, place.name, alert)
                return Held(record.partition(), dedup_key, None)
            return Change(place, "", None, "GIVEN_UP", alert)
        why = unwanted(self.receiver, alert, raised_ms)
        found = None if why else entry(alert, raised_ms, self.receiver.labels, self._settings.topic_prefix)
        if record.topic() == self._active_topic:
            return Held(record.partition(), dedup_key, found)
        return Change(place, alert.dedup_key, found, "SKIPPED" if why else None, why)

    def restore(self, progress: Mapping[int, Progress]) -> list[Change]:
        topic = self._settings.topic(ALERTS)
        ends = {TopicPartition(topic, number): at.offset for number, at in progress.items()}
        since_ms = int((time.time() - OCCURRENCE.total_seconds()) * 1000)
        starts = {tp: min(at, ends[tp]) for tp, at in offsets_at(self._settings, [*ends], since_ms).items()}
        found = [self.prepare(record) for record in chain.from_iterable(read_to_end(self._settings, starts, ends))]
        return [each for each in found if isinstance(each, Change) and each.found is not None]

    def begin(self, progress: Mapping[int, Progress], restored: Sequence[Change | Held]) -> None:
        self._assignment = Assignment(self._interval, progress, restored)

    def end(self) -> None:
        self._assignment = Assignment(self._interval, {})

    def admit(self, prepared: list[Change | Held], ends: Mapping[int, int]) -> None:
        self._assignment.admit(prepared, ends, time.monotonic())

    def reached_end(self, topic: str, partition: int) -> None:
        self._assignment.reached_end(partition, of_active=topic == self._active_topic)

    def held(self) -> Sequence[int]:
        return [*self._assignment.positions] if self.waiting() >= MOST_CHANGES else ()

    def progress(self) -> dict[int, Progress]:
        return self._assignment.progress()

    def waiting(self) -> int:
        return len(self._assignment.waiting())

    def oldest_ms(self) -> int | None:
        changes = self._assignment.waiting()
        found = next((change.found for change in changes if change.found is not None), None)
        return None if found is None else int(found.raised.timestamp() * 1000)

    async def quiet(self, limit_s: float) -> None:
        """See ReceiverWorker. No request begins while `is_ready` is False."""
        if self._sending is not None and not self._sending.done():
            _, late = await asyncio.wait({self._sending}, timeout=limit_s)
            for task in late:
                log.warning("receiver %s: a request takes too long and is cancelled", self.receiver.name)
                task.cancel()
                await asyncio.wait({task})

    async def send(self) -> None:
        while True:
            await asyncio.sleep(_WAIT_S)
            if not self._may_send():
                continue
            self._sending = asyncio.create_task(self._send_what_is_due(self._assignment))
            try:
                await asyncio.wait({self._sending})
            finally:
                self._sending.cancel()
            if not self._sending.cancelled():
                await asyncio.sleep(self._sending.result())

    def _may_send(self) -> bool:
        """The whole set is known, and all partitions are this worker's."""
        assignment = self._assignment
        return self.is_ready and assignment.is_known and all(map(self.group.may_send, assignment.positions))

    async def _send_what_is_due(self, assignment: Assignment) -> float:
        """Return how long to wait, in seconds: more than 0 after a failure."""
        due = assignment.due(datetime.now(UTC), time.monotonic())
        rejected: list[dict[str, Any]] = []
        if due.alerts:
            answer, rejected = await self._post(due.alerts)
            assignment.attempted(due, answer)
            if verdict(answer) is not Verdict.DELIVERED:
                return self._failed(assignment, answer)
            assignment.failures = 0
            self.metrics.receiver_failing.labels(self.receiver.name).set(0)
            if due.is_whole:
                assignment.next_whole_s = time.monotonic() + self.receiver.interval_s
        self._finish(assignment.finish(due, {alert["annotations"]["alert_id"] for alert in rejected}))
        return 0

    def _failed(self, assignment: Assignment, answer: Answer) -> float:
        pause_s = _PAUSES_S[min(assignment.failures, len(_PAUSES_S) - 1)]
        name = self.receiver.name
        log.error("receiver %s: no Alertmanager accepts alerts: %s; next attempt in %d s", name, answer.text, pause_s)
        assignment.failures += 1
        self.metrics.receiver_failing.labels(name).set(1)
        self.metrics.delivery_retries.labels(name).inc()
        return pause_s

    def _finish(self, finished: Sequence[Finished]) -> None:
        late_s = []
        for change, outcome, detail, attempts in finished:
            self.outcome(change.place, outcome, detail, attempts)
            if outcome == "DELIVERED" and change.found is not None:
                late_s.append(max(time.time() - change.found.raised.timestamp(), 0.0))
        if late_s:
            self.metrics.alert_to_delivery.observe_all(late_s)

    async def _post(self, alerts: list[dict[str, Any]]) -> Sent:
        """Send to every Alertmanager; the result is the first success.

        A cluster shares silences and what was notified, but no alerts: one that is down gets them with the next set.
        """
        results = await asyncio.gather(*(self._post_to(url, alerts) for url in self._urls))
        good = [sent for sent in results if verdict(sent.answer) is Verdict.DELIVERED]
        for number, sent in enumerate(results, 1):
            if good and sent not in good:
                what = (self.receiver.name, number, len(results), sent.answer.text)
                log.warning("receiver %s: Alertmanager %d of %d: %s", *what)
        return good[0] if good else results[0]

    async def _post_to(self, url: str, alerts: list[dict[str, Any]]) -> Sent:
        rejected: list[dict[str, Any]] = []
        answer = Answer()
        batches = deque(alerts[start : start + _BATCH] for start in range(0, len(alerts), _BATCH))
        while batches:
            batch = batches.popleft()
            body = json.dumps(batch).encode()
            answer = await self.client.post(url, body, {"content-type": "application/json"})
            if verdict(answer) is Verdict.REJECTED and len(batch) > 1:  # one of them is
                middle = len(batch) // 2
                batches.extendleft((batch[middle:], batch[:middle]))
            elif verdict(answer) is Verdict.REJECTED:
                log.error("receiver %s: rejected alone: %s", self.receiver.name, answer.body)
                rejected += batch
                answer = Answer(200)
            elif verdict(answer) is not Verdict.DELIVERED:
                break
        return Sent(answer, rejected)
