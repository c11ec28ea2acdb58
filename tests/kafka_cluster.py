"""The cluster that tests run on, chosen by TEST_BROKER; every choice gives the same KafkaCluster."""

from __future__ import annotations

import contextlib
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from docker.errors import DockerException  # type: ignore[import-untyped]
from testcontainers.core.container import DockerContainer

from broker_events.devstack.java import free_ports
from broker_events.devstack.stack import Stack
from broker_events.runtime.kafka.clients import client_config
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KAFKA_IMAGE = "apache/kafka:4.3.0"
REGISTRY_IMAGE = "apicurio/apicurio-registry:3.3.3"
CONTAINERS_READY_S = 120.0


@dataclass(frozen=True)
class KafkaCluster:
    """Where Kafka and the registry are. `registry_url` is the base address of the Confluent API."""

    bootstrap_servers: str
    registry_url: str

    def settings(self, **overrides: Any) -> Settings:
        """Settings for this cluster; security settings of an external one come from the environment, as always."""
        addresses = {"kafka_bootstrap_servers": self.bootstrap_servers, "schema_registry_url": self.registry_url}
        return load_settings(**addresses, **overrides)

    def clients(self, **overrides: Any) -> dict[str, Any]:
        """Client settings (librdkafka) that reach this cluster; `overrides` uses _ for . in names."""
        return client_config(self.settings()) | {name.replace("_", "."): value for name, value in overrides.items()}


@contextlib.contextmanager
def embedded() -> Iterator[KafkaCluster]:
    """A Kafka and a registry of our own on this machine, without Docker and without installed Java."""
    with Stack(progress=print) as stack:
        yield KafkaCluster(stack.bootstrap_servers, stack.registry_url)


@contextlib.contextmanager
def testcontainers() -> Iterator[KafkaCluster]:
    """Both as containers; needs a Docker engine that answers."""
    try:
        kafka, registry = _kafka_container(), _registry_container()
        with kafka, registry:
            host = registry.get_container_host_ip()
            cluster = KafkaCluster(
                f"{kafka.get_container_host_ip()}:{kafka.get_exposed_port(9092)}",
                f"http://{host}:{registry.get_exposed_port(8080)}/apis/ccompat/v7",
            )
            _wait_until_ready(cluster)
            yield cluster
    except DockerException as error:
        raise pytest.UsageError(f"TEST_BROKER=testcontainers: no container engine answers ({error})") from error


def _kafka_container() -> DockerContainer:
    """The broker must tell its clients the port they see, so that port is chosen before it starts."""
    port = free_ports(1)[0]
    host = DockerContainer(KAFKA_IMAGE).get_container_host_ip()
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_LISTENERS": "CLIENT://0.0.0.0:9092,BROKER://localhost:9094,CONTROLLER://localhost:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"CLIENT://{host}:{port},BROKER://localhost:9094",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CLIENT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "BROKER",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_TRANSACTION_ABORT_TIMED_OUT_TRANSACTION_CLEANUP_INTERVAL_MS": "1000",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_MESSAGE_MAX_BYTES": str(16 * 1024 * 1024),
    }
    container = DockerContainer(KAFKA_IMAGE).with_bind_ports(9092, port)
    for name, value in settings.items():
        container.with_env(name, value)
    return container


def _registry_container() -> DockerContainer:
    return DockerContainer(REGISTRY_IMAGE).with_exposed_ports(8080)


def _wait_until_ready(cluster: KafkaCluster) -> None:
    deadline = time.monotonic() + CONTAINERS_READY_S
    admin = AdminClient(cluster.clients())
    while True:
        try:
            admin.list_topics(timeout=2)
            with urllib.request.urlopen(f"{cluster.registry_url}/subjects", timeout=2):  # noqa: S310 - http by construction
                return
        except (KafkaException, urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the containers are not ready after {CONTAINERS_READY_S:.0f} s: {error}") from error
            time.sleep(0.5)


@contextlib.contextmanager
def external() -> Iterator[KafkaCluster]:
    """Any cluster: addresses and security from the PIPELINE_ settings, see runtime/settings.py."""
    try:
        settings = load_settings()
        missing = {"kafka_bootstrap_servers", "schema_registry_url"} - settings.model_fields_set
    except OperatorActionRequired as error:
        raise pytest.UsageError(f"TEST_BROKER=external: {error}") from error
    if missing:
        names = " and ".join(f"PIPELINE_{name.upper()}" for name in sorted(missing))
        raise pytest.UsageError(f"TEST_BROKER=external needs {names}")
    yield KafkaCluster(settings.kafka_bootstrap_servers, settings.schema_registry_url)


BROKERS: dict[str, Callable[[], contextlib.AbstractContextManager[KafkaCluster]]] = {
    "embedded": embedded,
    "testcontainers": testcontainers,
    "external": external,
}


def chosen_broker() -> str:
    """Return TEST_BROKER, `embedded` by default. Raises pytest.UsageError when it is none of the three."""
    choice = os.environ.get("TEST_BROKER") or "embedded"
    if choice not in BROKERS:
        raise pytest.UsageError(f"TEST_BROKER is {choice!r}; known are {', '.join(BROKERS)}")
    return choice
