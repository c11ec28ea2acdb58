"""Delivers alerts to one webhook: at least once, in the order of each account."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from broker_events.runtime.consume.record import KafkaRecord
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.settings import Settings
from broker_events.schemas.codec import Codec
from broker_events.schemas.storage_types import Delivery
from broker_events.sinks.deliver.delivery_record import AlertPlace, Attempts, Outcome
from broker_events.sinks.deliver.interest import unwanted
from broker_events.sinks.deliver.receiver_worker import ReceiverWorker
from broker_events.sinks.deliver.receivers import Receiver
from broker_events.sinks.deliver.retry_rule import Answer, ReceiverHealth, Retries, Verdict, verdict
from broker_events.sinks.deliver.signature import Signer
from broker_events.sinks.deliver.webhook_request import WebhookRequest, webhook_request
from broker_events.sinks.deliver.window import Progress, Waiting, Window

log = logging.getLogger(__name__)

_WAIT_S: Final = 0.05
_BURST_S: Final = 0.05
# Python objects around the text of a request.
_OVERHEAD_BYTES: Final = 2500


@dataclass(slots=True)
class Sending:
    """A request to send, and its attempts so far. `raised_ms`: time of the alert's record."""

    place: AlertPlace
    raised_ms: int
    request: WebhookRequest
    attempts: Attempts = field(default_factory=Attempts)
    retries: Retries = field(default_factory=Retries)


class Prepared(NamedTuple):
    """A record of alerts: the alert to send, or its outcome without being sent and why."""

    place: AlertPlace
    waiting: Waiting[Sending] | None
    outcome: Outcome | None = None
    detail: str | None = None


class WebhookDelivery(ReceiverWorker[Prepared]):
    """Sends each alert that the receiver wants, and keeps a record of every alert."""

    def __init__(
        self, settings: Settings, receiver: Receiver, codec: Codec[Delivery], metrics: Metrics, stop: threading.Event
    ) -> None:
        super().__init__(settings, receiver, codec, metrics, stop)
        self._url = receiver.addresses()[0]
        self._signer = Signer(receiver.secrets())
        self._window: Window[Sending] = Window()
        self._health = ReceiverHealth()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._slot_s = 0.0  # when the next request may begin

    def prepare(self, record: KafkaRecord) -> Prepared:
        place, alert = self.decoded(record)
        if isinstance(alert, str):
            return Prepared(place, None, "GIVEN_UP", alert)
        raised_ms = record.timestamp()[1]
        if (why := unwanted(self.receiver, alert, raised_ms)) is not None:
            return Prepared(place, None, "SKIPPED", why)
        request = webhook_request(alert, record.headers() or ())
        size = len(request.body) + _OVERHEAD_BYTES
        sending = Sending(place, raised_ms, request)
        return Prepared(place, Waiting(place.partition, place.offset, record.key(), size, sending))

    def admit(self, prepared: list[Prepared], ends: Mapping[int, int]) -> None:
        for place, waiting, outcome, detail in prepared:
            if self._window.is_finished(place.partition, place.offset):
                self._window.pass_over(place.partition, place.offset)
            elif waiting is not None:
                self._window.add(waiting)
            elif outcome is not None:
                self._window.pass_over(place.partition, place.offset)
                self._window.note_finished(place.partition, place.offset)
                self.outcome(place, outcome, detail)
        for number, end in ends.items():
            self._window.advance(number, end)
        self._wake.set()

    def held(self) -> Sequence[int]:
        return self._window.held()

    def begin(self, progress: Mapping[int, Progress], restored: Sequence[Prepared]) -> None:  # noqa: ARG002
        for number, at in progress.items():
            self._window.assign(number, at.offset, at.finished)

    def end(self) -> None:
        self._window = Window()

    def progress(self) -> dict[int, Progress]:
        return dict(self._window.progress())

    def waiting(self) -> int:
        return len(self._window)

    def oldest_ms(self) -> int | None:
        return min((waiting.content.raised_ms for waiting in self._window.oldest()), default=None)

    async def quiet(self, limit_s: float) -> None:
        """See ReceiverWorker. No request begins while `is_ready` is False."""
        if self._in_flight:
            _, late = await asyncio.wait(self._in_flight, timeout=limit_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def send(self) -> None:
        while True:
            waiting = self._next()
            if waiting is None:
                self._wake.clear()
                try:
                    async with asyncio.timeout(_WAIT_S):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                continue
            task = asyncio.create_task(self._attempt(waiting))
            self._in_flight.add(task)
            task.add_done_callback(self._landed)
            now_s = time.monotonic()
            self._slot_s = max(self._slot_s, now_s - _BURST_S) + 1 / self.receiver.max_per_s
            if self._slot_s > now_s:
                await asyncio.sleep(self._slot_s - now_s)

    def _next(self) -> Waiting[Sending] | None:
        """Return the alert to send now, None if there is none or nothing may be sent."""
        now_s = time.monotonic()
        most = 1 if self._health.is_failing else self.receiver.max_in_flight
        if not self.is_ready or len(self._in_flight) >= most or now_s < self._health.held_until_s:
            return None
        waiting = self._window.take(now_s)
        if waiting is None and self._health.is_failing:
            waiting = self._window.take_early()
        if waiting is not None and not self.group.may_send(waiting.partition):
            self._window.put_back(waiting)
            return None
        return waiting

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    async def _attempt(self, waiting: Waiting[Sending]) -> None:
        sending = waiting.content
        at_us = time.time_ns() // 1000
        if sending.attempts.number:
            self.metrics.delivery_retries.labels(self.receiver.name).inc()
        request = sending.request
        signed = self._signer.headers(request.alert_id, request.body, at_us // 1_000_000)
        answer = await self.client.post(self._url, request.body.encode(), request.headers | signed)
        sending.attempts = Attempts(
            sending.attempts.number + 1,
            sending.attempts.first_us or at_us,
            at_us,
            answer.status,
            answer.body or answer.problem,
        )
        self._judge(waiting, answer)

    def _judge(self, waiting: Waiting[Sending], answer: Answer) -> None:
        sending, found, now_s = waiting.content, verdict(answer), time.monotonic()
        was_failing = self._health.is_failing
        recovered = self._health.note(found, (waiting.partition, waiting.key), answer, now_s)
        if self._health.is_failing != was_failing:
            self._report(answer)
        number = sending.attempts.number
        if found is Verdict.DELIVERED:
            self._finish(waiting, "DELIVERED")
            self.metrics.alert_to_delivery.observe_all([max(time.time() - sending.raised_ms / 1000, 0.0)])
        elif (due_s := sending.retries.next_s(found, now_s, self.receiver.give_up_after)) is None:
            self._finish(waiting, "GIVEN_UP", f"{answer.text}, after {number} attempts")
        else:
            self._window.retry(waiting, due_s)
            if not self._health.is_failing:
                name, alert_id = self.receiver.name, sending.place.name
                what = (name, alert_id, answer.text, number, due_s - now_s)
                log.warning("receiver %s: alert %s: %s; attempt %d, next one in %.0f s", *what)
        if recovered:
            self._window.hurry()

    def _finish(self, waiting: Waiting[Sending], outcome: Outcome, detail: str | None = None) -> None:
        self._window.finish(waiting)
        self.outcome(waiting.content.place, outcome, detail, waiting.content.attempts)

    def _report(self, answer: Answer) -> None:
        name, is_failing = self.receiver.name, self._health.is_failing
        self.metrics.receiver_failing.labels(name).set(is_failing)
        if is_failing:
            log.error("receiver %s fails: %s; it gets one request at a time until it accepts one", name, answer.text)
        else:
            log.info("receiver %s accepts alerts again", name)
