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
from broker_events.sinks.deliver.alertmanager_set import OCCURRENCE, AlertSet, Entry, entry
from broker_events.sinks.deliver.delivery_record import AlertPlace, Attempts, Outcome
from broker_events.sinks.deliver.interest import unwanted
from broker_events.sinks.deliver.receiver_worker import ReceiverWorker
from broker_events.sinks.deliver.receivers import ALERTS, Receiver
from broker_events.sinks.deliver.retry_rule import Answer, Verdict, verdict
from broker_events.sinks.deliver.window import Progress

log = logging.getLogger(__name__)

ACTIVE: Final = "alerts.active"
_PATH: Final = "/api/v2/alerts"
_BATCH: Final = 500
_MOST_CHANGES: Final = 2000
_WAIT_S: Final = 0.05
_MOST_WAIT_S: Final = 1.0
_PAUSES_S: Final = (1, 2, 5, 10, 30)


class Change(NamedTuple):
    """A record of alerts that has no outcome yet; `outcome` and `detail` are set if it is not to be sent."""

    place: AlertPlace
    dedup_key: str
    found: Entry | None
    outcome: Outcome | None = None
    detail: str | None = None


class Held(NamedTuple):
    """A record of alerts.active; None: a tombstone, or an alert that the receiver doesn't want."""

    partition: int
    dedup_key: str
    found: Entry | None


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
        self._set = AlertSet(self._interval)
        self._changes: deque[Change] = deque()
        self._positions: dict[int, int] = {}
        self._behind: set[int] = set()
        self._waiting_since_s = 0.0
        self._busy = asyncio.Lock()
        self._failures = 0
        self._attempts = Attempts()  # of the changes that wait

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
        self._set = AlertSet(self._interval)
        for change in restored:
            if change.found is not None:
                self._set.note(change.dedup_key, change.found, change.found.raised)
        self._behind.clear()
        self._changes.clear()
        self._positions = {number: at.offset for number, at in progress.items()}
        self._unread = set(progress)
        self._next_set_s = 0.0

    _unread: set[int] = set()  # noqa: RUF012 (replaced, never changed)
    _next_set_s = 0.0

    def end(self) -> None:
        self.begin({}, ())

    def admit(self, prepared: list[Change | Held], ends: Mapping[int, int]) -> None:
        for each in prepared:
            if isinstance(each, Held):
                self._set.hold(each.dedup_key, each.found)
            else:
                if not self._changes:
                    self._waiting_since_s = time.monotonic()
                self._changes.append(each)
        self._positions |= {number: end for number, end in ends.items() if number in self._positions}
        self._behind |= ends.keys()

    def reached_end(self, topic: str, partition: int) -> None:
        if topic == self._active_topic:
            self._unread = self._unread - {partition}
        else:
            self._behind.discard(partition)

    def held(self) -> Sequence[int]:
        return [*self._positions] if len(self._changes) >= _MOST_CHANGES else ()

    def progress(self) -> dict[int, Progress]:
        oldest: dict[int, int] = {}
        for change in self._changes:
            oldest.setdefault(change.place.partition, change.place.offset)
        return {number: Progress(oldest.get(number, at), frozenset()) for number, at in self._positions.items()}

    def waiting(self) -> int:
        return len(self._changes)

    def oldest_ms(self) -> int | None:
        found = next((change.found for change in self._changes if change.found is not None), None)
        return None if found is None else int(found.raised.timestamp() * 1000)

    async def quiet(self, limit_s: float) -> None:
        try:
            async with asyncio.timeout(limit_s), self._busy:
                pass
        except TimeoutError:
            log.warning("receiver %s: a request is still in flight", self.receiver.name)

    async def send(self) -> None:
        while True:
            await asyncio.sleep(_WAIT_S)
            async with self._busy:
                pause_s = await self._send_what_is_due() if self._may_send() else 0
            if pause_s:
                await asyncio.sleep(pause_s)

    def _may_send(self) -> bool:
        """The whole set is known, and all partitions are this worker's."""
        return self.is_ready and not self._unread and all(map(self.group.may_send, self._positions))

    def _is_enough(self) -> bool:
        """Whether to send the changes now. While more is to be read, a later one may end what another has begun."""
        waited_s = time.monotonic() - self._waiting_since_s
        return not self._behind or len(self._changes) >= _MOST_CHANGES or waited_s > _MOST_WAIT_S

    async def _send_what_is_due(self) -> float:
        """Return how long to wait, in seconds: more than 0 after a failure."""
        now, is_set_due = datetime.now(UTC), time.monotonic() >= self._next_set_s
        changes = [*self._changes] if self._is_enough() else []
        for change in changes:
            if change.found is not None and not self._attempts.number:
                self._set.note(change.dedup_key, change.found, now)
        self._set.forget(now)
        keys = dict.fromkeys(change.dedup_key for change in changes if change.found is not None)
        alerts = self._set.alerts([*self._set.keys()] if is_set_due else keys, now)
        if not alerts:
            self._finish(changes, Sent(Answer(), []))
            return 0
        sent = await self._post(alerts)
        if changes:
            at_us = int(now.timestamp() * 1_000_000)
            first_us = self._attempts.first_us or at_us
            self._attempts = Attempts(self._attempts.number + 1, first_us, at_us, sent.answer.status, sent.answer.body)
        if verdict(sent.answer) is not Verdict.DELIVERED:
            return self._failed(sent.answer)
        self._failures = 0
        self.metrics.receiver_failing.labels(self.receiver.name).set(0)
        if is_set_due:
            self._next_set_s = time.monotonic() + self.receiver.interval_s
        self._finish(changes, sent)
        return 0

    def _failed(self, answer: Answer) -> float:
        pause_s = _PAUSES_S[min(self._failures, len(_PAUSES_S) - 1)]
        name = self.receiver.name
        log.error("receiver %s: no Alertmanager accepts alerts: %s; next attempt in %d s", name, answer.text, pause_s)
        self._failures += 1
        self.metrics.receiver_failing.labels(name).set(1)
        self.metrics.delivery_retries.labels(name).inc()
        return pause_s

    def _finish(self, changes: Sequence[Change], sent: Sent) -> None:
        rejected = {alert["annotations"]["alert_id"] for alert in sent.rejected}
        late_s = []
        for change in changes:
            self._changes.popleft()
            if change.outcome is not None or change.found is None:
                self.outcome(change.place, change.outcome or "SKIPPED", change.detail)
            elif change.found.alert_id in rejected:
                self.outcome(change.place, "GIVEN_UP", "the Alertmanager rejects it", self._attempts)
            elif not self._set.is_latest(change.dedup_key, change.found.alert_id):
                self.outcome(change.place, "SKIPPED", "superseded by a later alert before it was sent")
            else:
                self.outcome(change.place, "DELIVERED", None, self._attempts)
                late_s.append(max(time.time() - change.found.raised.timestamp(), 0.0))
        if changes:
            self._attempts = Attempts()
            self.metrics.alert_to_delivery.observe_all(late_s)

    async def _post(self, alerts: list[dict[str, Any]]) -> Sent:
        """Send to every Alertmanager; the result is the first success, as those of a cluster tell each other."""
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
