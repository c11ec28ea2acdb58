"""Runs a bridge as a process, with metrics and health."""

import threading
from collections.abc import Callable
from typing import NamedTuple

from broker_events.ingest.bridge import Bridge
from broker_events.ingest.sources.broker_push import BrokerPush
from broker_events.ingest.sources.ndjson import NdjsonFiles
from broker_events.ingest.sources.push_stream import check_push_settings
from broker_events.ingest.sources.source import EventSource
from broker_events.runtime.process.health import Health, HealthServer
from broker_events.runtime.process.instance import superseded
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import load_catalog

Watch = Callable[[int], None]
"""Takes the number of events committed so far, five times per second."""


def run_push(settings: Settings, stop: threading.Event, name: str = "grpc", *, accept_simulated: bool = False) -> None:
    """Bridge the event push until `stop` is set. Raises what `Bridge.run` raises.

    `accept_simulated`: see `BrokerPush`.
    """
    check_push_settings(settings)
    metrics, health = Metrics(), Health(settings.start_timeout_s)
    metrics.identify("bridge", name)
    push = BrokerPush(settings, metrics, health, name, accept_simulated=accept_simulated)
    _run(settings, stop, push, metrics, health, lambda _: None)


class Bridged(NamedTuple):
    """Numbers of committed events, and of markers for events that were too large."""

    events: int
    markers: int


def run_files(settings: Settings, stop: threading.Event, files: NdjsonFiles, watch: Watch) -> Bridged:
    """Import the files. Raises what `Bridge.run` raises."""
    metrics, health = Metrics(), Health(settings.start_timeout_s)
    metrics.identify("import", files.name)
    return _run(settings, stop, files, metrics, health, watch)


def _run(
    settings: Settings,
    stop: threading.Event,
    source: EventSource,
    metrics: Metrics,
    health: Health,
    watch: Watch,
) -> Bridged:
    server = HealthServer(settings.http_host, settings.http_port, metrics, health)
    server.start()
    try:
        bridge = Bridge(settings, source, load_catalog(), metrics, health)
        with superseded(settings, health, stop, f"Run one bridge of the source {source.name}"):
            bridge.run(stop, lambda: watch(bridge.committed))
        return Bridged(bridge.committed - bridge.markers, bridge.markers)
    finally:
        server.stop()
