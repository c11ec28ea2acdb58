"""Prepare what the processes need: Kafka, registry, topics, schemas."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from broker_events.devstack.interrupts import Background, Interrupts
from broker_events.devstack.stack import Stack
from broker_events.runtime.kafka.clients import admin_client
from broker_events.runtime.kafka.topics import apply_topics, plan_topics
from broker_events.runtime.schema_ids import open_registry, registry_problem
from broker_events.runtime.settings import Settings, load_settings
from broker_events.schemas.catalog import Catalog
from broker_events.schemas.registry import RegistryError, desired_subjects

Say = Callable[[str], None]

EMBEDDED: Final[dict[str, object]] = {
    "kafka_security_protocol": "PLAINTEXT",
    "kafka_extra": {},
    "replication_factor": 1,
}
"""Settings of every process on the embedded Kafka: the environment may hold those of another cluster."""


def prepare_embedded(stack: Stack, catalog: Catalog, say: Say, interrupts: Interrupts, *, bare: bool) -> Settings:
    """Start the stack and, unless `bare`, create topics and register schemas in it; return settings that name it.

    Raises StackError, PipelineError, and Interrupted when a signal comes first.
    """

    def kafka() -> None:
        stack.kafka.start()
        if not bare:
            make_topics(load_settings(**EMBEDDED, kafka_bootstrap_servers=stack.bootstrap_servers), catalog, say)

    def registry() -> None:
        stack.registry.start()
        if not bare:
            register_schemas(load_settings(schema_registry_url=stack.registry_url), catalog, say)

    for work in (Background(kafka), Background(registry)):
        work.result(interrupts)
    addresses = {"kafka_bootstrap_servers": stack.bootstrap_servers, "schema_registry_url": stack.registry_url}
    return load_settings(**EMBEDDED, **addresses)


def prepare_configured(settings: Settings, catalog: Catalog, say: Say, interrupts: Interrupts) -> None:
    """Create topics and register schemas in the cluster that the settings name; errors as of `prepare_embedded`."""

    def work() -> None:
        make_topics(settings, catalog, say)
        register_schemas(settings, catalog, say)

    Background(work).result(interrupts)


def exports(settings: Settings) -> tuple[str, str]:
    """The lines for a shell after which the commands in it reach this cluster."""
    return (
        f"export PIPELINE_KAFKA_BOOTSTRAP_SERVERS={settings.kafka_bootstrap_servers}",
        f"export PIPELINE_SCHEMA_REGISTRY_URL={settings.schema_registry_url}",
    )


def make_topics(settings: Settings, catalog: Catalog, say: Say) -> None:
    began = time.monotonic()
    plans = plan_topics(catalog, settings)
    done = apply_topics(admin_client(settings), plans)
    say(f"{len(plans)} topics of {settings.partitions} partitions, {len(done)} changes ({_since(began)})")


def register_schemas(settings: Settings, catalog: Catalog, say: Say) -> None:
    began = time.monotonic()
    try:
        done = open_registry(settings).register(desired_subjects(catalog, settings.topic_prefix))
    except RegistryError as error:
        raise registry_problem(error) from None
    changes = sum(registration.outcome != "unchanged" for registration in done)
    say(f"{len(done)} schemas, {changes} changes ({_since(began)})")


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"
