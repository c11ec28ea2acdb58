"""Runs `broker-events deliver` as a process: one thread for each receiver, with metrics and health."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final

from broker_events.runtime.kafka.acls import verify_access
from broker_events.runtime.kafka.clients import admin_client
from broker_events.runtime.kafka.topics import plan_topics, verify_topics
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.process.health import LIVE_LIMIT_S, Health, HealthServer
from broker_events.runtime.process.instance import superseded
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.schema_ids import resolve_schema_ids
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import DELIVERIES, load_catalog
from broker_events.schemas.codec import Codec
from broker_events.schemas.storage_types import Delivery
from broker_events.sinks.deliver.alertmanager import AlertmanagerDelivery
from broker_events.sinks.deliver.group import ROLE
from broker_events.sinks.deliver.receiver_worker import ReceiverWorker
from broker_events.sinks.deliver.receivers import Receiver, load_receivers
from broker_events.sinks.deliver.webhook import WebhookDelivery

log = logging.getLogger(__name__)

NAME: Final = "deliver"
_KINDS: Final[dict[str, type[WebhookDelivery | AlertmanagerDelivery]]] = {
    "webhook": WebhookDelivery,
    "alertmanager": AlertmanagerDelivery,
}
_LOOK_S: Final = 0.1
_JOIN_S: Final = 8.0


def chosen_receivers(settings: Settings, names: Sequence[str]) -> tuple[Receiver, ...]:
    """Return the receivers of these names, all without names. Raises OperatorActionRequired for an unknown one."""
    receivers = load_receivers(settings)
    known = [receiver.name for receiver in receivers]
    if unknown := [name for name in names if name not in known]:
        raise OperatorActionRequired(f"no receiver {unknown[0]!r} in the file; there are: {', '.join(known)}")
    return tuple(receiver for receiver in receivers if not names or receiver.name in names)


def run(settings: Settings, stop: threading.Event, names: Sequence[str] = ()) -> None:
    """Deliver to the receivers of these names, by default to all, until `stop` is set.

    Raises OperatorActionRequired for a wrong file, RestartRequired or Fenced when the worker can't go on.
    """
    receivers, catalog = chosen_receivers(settings, names), load_catalog()
    metrics, health = Metrics(), Health(settings.start_timeout_s)
    metrics.identify(NAME, settings.instance_id)
    with ExitStack() as resources:
        server = HealthServer(settings.http_host, settings.http_port, metrics, health)
        server.start()
        resources.callback(server.stop)
        admin, plans = admin_client(settings, stop), plan_topics(catalog, settings)
        verify_access(admin, settings, ROLE, [plan.name for plan in plans])
        verify_topics(admin, plans)
        schema_id = resolve_schema_ids(settings, catalog, stop)[DELIVERIES]
        ending = threading.Event()
        codec: Codec[Delivery] = Codec(catalog.topics[DELIVERIES][0], schema_id)
        threads = [_Thread(_KINDS[each.kind](settings, each, codec, metrics, ending), ending) for each in receivers]
        advice = (
            f"Two workers of a receiver have the instance id {settings.instance_id}: give each its own with "
            "PIPELINE_INSTANCE_ID"
        )
        with superseded(settings, health, stop, advice):
            _watch(threads, health, stop, ending, LIVE_LIMIT_S + 2 * settings.start_timeout_s)


class _Thread(threading.Thread):
    """Runs one receiver; its error ends all of them."""

    def __init__(self, worker: ReceiverWorker[Any], ending: threading.Event) -> None:
        super().__init__(name=f"deliver-{worker.receiver.name}", daemon=True)
        self.worker = worker
        self.error: BaseException | None = None
        self._ending = ending

    def run(self) -> None:
        try:
            asyncio.run(self.worker.run())
        except BaseException as error:  # noqa: BLE001 (raised again in the main thread)
            self.error = error
        finally:
            self._ending.set()


def _watch(
    threads: Sequence[_Thread], health: Health, stop: threading.Event, ending: threading.Event, limit_s: float
) -> None:
    for thread in threads:
        thread.start()
    while not stop.is_set() and not ending.is_set():
        silent_s = time.monotonic() - min(thread.worker.beat_s for thread in threads)
        health.beat(limit_s - silent_s)
        waiting = [thread.worker.receiver.name for thread in threads if not thread.worker.is_ready]
        if waiting:
            health.not_ready(f"no partitions for {', '.join(waiting)}")
        else:
            health.ready()
        stop.wait(_LOOK_S)
    health.not_ready("stopping")
    ending.set()
    deadline = time.monotonic() + _JOIN_S
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))
    for thread in threads:
        if thread.error is not None:
            raise thread.error
