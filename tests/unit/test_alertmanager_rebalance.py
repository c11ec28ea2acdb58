"""A request that takes too long for a rebalance ends with it: the next assignment's alerts keep waiting."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from broker_events.sinks.deliver.alertmanager import AlertmanagerDelivery
from broker_events.sinks.deliver.alertmanager_changes import Change
from broker_events.sinks.deliver.alertmanager_set import Entry
from broker_events.sinks.deliver.delivery_record import AlertPlace
from broker_events.sinks.deliver.receiver_worker import ReceiverWorker
from broker_events.sinks.deliver.retry_rule import Answer
from broker_events.sinks.deliver.window import Progress


def change(alert_id: str) -> Change:
    now = datetime.now(UTC)
    found = Entry({"condition": alert_id}, "", alert_id, is_resolved=False, since=now, raised=now)
    return Change(AlertPlace(0, 7, alert_id, "RULE", "FIRING"), alert_id, found)


def begin(worker: AlertmanagerDelivery, alert_id: str) -> None:
    worker.begin({0: Progress(7, frozenset())}, ())
    worker.admit([change(alert_id)], {0: 8})
    worker.reached_end("active", 0)
    worker.reached_end("alerts", 0)


def test_a_late_answer_ends_nothing_of_the_next_assignment(monkeypatch: pytest.MonkeyPatch) -> None:
    began, answered, posted = asyncio.Event(), asyncio.Event(), []

    class Client:
        async def post(self, _: str, body: bytes, __: object) -> Answer:
            posted.append(body)
            began.set()
            await answered.wait()
            return Answer(200)

    def base(self: Any, _: object, receiver: object, *__: object) -> None:
        anything = SimpleNamespace(set=print, inc=print)
        gauge = SimpleNamespace(labels=lambda *_: anything)
        self.receiver, self.is_ready, self._outcomes = receiver, True, []
        self.metrics = SimpleNamespace(
            receiver_failing=gauge, delivery_retries=gauge, alert_to_delivery=SimpleNamespace(observe_all=print)
        )
        self.group = SimpleNamespace(may_send=lambda _: True)
        self.client = Client()

    monkeypatch.setattr(ReceiverWorker, "__init__", base)
    receiver: Any = SimpleNamespace(name="on-call", interval_s=30, addresses=lambda: ["http://one"])
    settings: Any = SimpleNamespace(topic=lambda _: "active")
    nothing: Any = None

    async def run() -> None:
        worker = AlertmanagerDelivery(settings, receiver, nothing, nothing, nothing)
        begin(worker, "first")
        sender = asyncio.create_task(worker.send())
        await asyncio.wait_for(began.wait(), 5)
        worker.is_ready = False
        await worker.quiet(0.05)
        worker.end()
        begin(worker, "second")
        answered.set()
        await asyncio.sleep(0.2)
        assert worker.progress() == {0: Progress(7, frozenset())}
        assert worker.waiting() == 1
        assert worker._outcomes == []
        worker.is_ready = True
        async with asyncio.timeout(5):
            while worker.waiting():
                assert not sender.done()
                await asyncio.sleep(0.01)
        assert b"second" in posted[-1]
        assert [(each["alert_id"], each["outcome"]) for each in worker._outcomes] == [("second", "DELIVERED")]
        sender.cancel()

    asyncio.run(run())
