"""Runs a worker: a Faust app whose agent reads record batches instead of Faust's own consumer."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import faust
from faust.app import BootStrategy

from broker_events.native import extension
from broker_events.runtime.consume.record_source import Processor, RecordSource
from broker_events.runtime.kafka.acls import verify_access
from broker_events.runtime.kafka.clients import admin_client
from broker_events.runtime.kafka.topics import DERIVED_SIZE_FACTOR, plan_topics, verify_topics
from broker_events.runtime.kafka.transaction import Transaction
from broker_events.runtime.process.health import Health, HealthServer
from broker_events.runtime.process.instance import superseded
from broker_events.runtime.process.memory import collect_rarely
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.quarantine.writer import QUARANTINE, Quarantine
from broker_events.runtime.schema_ids import resolve_schema_ids
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import Catalog
from broker_events.schemas.codec import Codec
from broker_events.schemas.storage_types import QuarantinedEvent

log = logging.getLogger(__name__)


class WithoutFaustKafka(BootStrategy):
    """Starts agents, services and timers; the record source reads Kafka instead (docs/adr/0002)."""

    enable_kafka = False
    enable_web = False
    enable_sensors = False


class PipelineApp(faust.App):
    BootStrategy = WithoutFaustKafka

    def _create_directories(self) -> None:
        """Create no folder: the worker has no Faust tables and needs no disk."""


Build = Callable[[Mapping[str, int], Quarantine, Transaction, Metrics], Processor]


def run_worker(
    settings: Settings,
    name: str,
    catalog: Catalog,
    topics: list[str],
    outputs: list[str],
    build: Build,
    stop: threading.Event,
    *,
    native_passthrough: bool = False,
) -> None:
    """Run one worker of the consumer group `name` until `stop` is set.

    `native_passthrough`: see RecordSource and Transaction.

    Verifies the topics and resolves the schema ids first; `build(schema ids by topic, quarantine, transaction,
    metrics)` then makes the processor. Raises OperatorActionRequired where they aren't as the catalog says,
    RestartRequired when the worker can't go on, Fenced where another has taken over, QuarantineLimitExceeded where it
    is set to end then.
    """
    if extension.native is None:
        log.warning("native extension missing (built without Rust): same results, several times slower")
    metrics, health = Metrics(), Health(settings.start_timeout_s)
    metrics.identify(name, settings.instance_id)
    with ExitStack() as resources:
        server = HealthServer(settings.http_host, settings.http_port, metrics, health)
        server.start()
        resources.callback(server.stop)
        admin, plans = admin_client(settings, stop), plan_topics(catalog, settings)
        verify_access(admin, settings, name, [plan.name for plan in plans])
        verify_topics(admin, plans)
        schema_ids = resolve_schema_ids(settings, catalog, stop)
        transaction = Transaction(
            settings, settings.transactional_id(name), DERIVED_SIZE_FACTOR, native_passthrough=native_passthrough
        )
        codec: Codec[QuarantinedEvent] = Codec(catalog.topics[QUARANTINE][0], schema_ids[QUARANTINE])
        biz_types = {settings.topic(event.topics[0].name): biz_type for biz_type, event in catalog.events.items()}
        quarantine = Quarantine(settings, name, codec, metrics, health, biz_types)
        processor = build(schema_ids, quarantine, transaction, metrics)
        app = PipelineApp(settings.group(name), broker="kafka://", store="memory://", autodiscover=False)

        async def serve() -> None:
            channel: Any = app.channel(value_type=None, maxsize=1)

            @app.agent(channel, name=name)
            async def agent(batches: Any) -> None:  # noqa: ANN401 (a Faust stream)
                async for batch in batches:
                    with batch:
                        processor.process(batch)

            source = RecordSource(
                settings,
                name,
                topics,
                outputs,
                channel,
                transaction,
                processor,
                quarantine,
                metrics,
                health,
                stop,
                native_passthrough=native_passthrough,
            )
            await _serve(app, source)

        advice = f"Two {name}s have the instance id {settings.instance_id}: give each its own with PIPELINE_INSTANCE_ID"
        collect_rarely()
        with superseded(settings, health, stop, advice):
            asyncio.run(serve())


async def _serve(app: faust.App, source: RecordSource) -> None:
    await app.start()
    app.flow_control.resume()
    try:
        await source.start()
        await asyncio.wait([source.ended])
        await source.stop()
        await source.ended
    finally:
        await app.stop()
