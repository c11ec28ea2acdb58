"""From the broker's push on: how fast the bridge takes it in, how long it is to an alert."""

from __future__ import annotations

import re
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import confluent_kafka
from confluent_kafka import Consumer

from bench.cluster import Pipeline
from bench.contenders import settings_environment
from bench.measurement import WARM_UP_SHARE, ProcessFailed, Work
from bench.throughput import Progress
from broker_events.runtime.consume.record import KafkaRecord
from broker_events.runtime.kafka.clients import consumer_config
from broker_events.runtime.kafka.topic_reader import end_offsets
from broker_events.schemas.codec import Codec
from broker_events.schemas.storage_types import Alert

_KEY: Final = "bench"
_SECRET: Final = "bench-secret"  # noqa: S105 (it protects nothing)
_LISTENING: Final = re.compile(r"listening on (127\.0\.0\.1:\d+)")
_POLL_S: Final = 0.02
_LIMIT_S: Final = 180.0


def bridge_rate(pipeline: Pipeline, events: int, accounts: int, folder: Path) -> tuple[float, float]:
    """Events a second from gRPC to committed raw records, and CPU microseconds of the bridge for each.

    Seen from the raw topic's last stable offsets, which grow by whole transactions, less their markers.
    """
    command = [sys.executable, "-m", "bench.push_server", str(events), str(accounts)]
    partitions = pipeline.partitions_of([pipeline.raw])
    with Work("push-server", command, settings_environment(pipeline.settings), folder) as server:
        environment = _push_environment(pipeline, _target(server))
        before = sum(pipeline.stable_ends(partitions).values())
        samples: list[tuple[float, int, float]] = []
        with Work(
            "bridge", [sys.executable, "-m", "broker_events.cli", "ingest", "--source", "grpc"], environment, folder
        ) as bridge:
            began = time.monotonic()
            while not samples or samples[-1][1] < events:
                seen = sum(pipeline.stable_ends(partitions).values()) - before
                if not samples or seen != samples[-1][1]:
                    samples.append((time.monotonic(), seen, bridge.cpu_s()))
                if time.monotonic() - began > _LIMIT_S or not bridge.is_running:
                    raise bridge.failed(f"has written {seen} of {events} records")
                time.sleep(_POLL_S)
    warm = next(sample for sample in samples if sample[1] >= events * WARM_UP_SHARE)
    # Markers count as offsets: the share of real records among all is the same throughout.
    records = (events / samples[-1][1]) * (samples[-1][1] - warm[1])
    return records / (samples[-1][0] - warm[0]), (samples[-1][2] - warm[2]) / records * 1e6


@contextmanager
def push_processes(pipeline: Pipeline, rate: int, accounts: int, folder: Path) -> Iterator[tuple[Work, ...]]:
    """Run simulator, bridge, router and projector; yields bridge, router, projector and simulator."""
    settings = pipeline.settings
    variables = settings_environment(settings)
    access = ["--app-key", _KEY, "--app-secret", _SECRET]
    simulate = ["simulate", "--rate", str(rate), "--accounts", str(accounts), *access]
    cli = [sys.executable, "-m", "broker_events.cli"]
    ingest = ["ingest", "--source", "grpc", "--yes-write-simulated-events-to", settings.topic_prefix]
    with (
        Work("router", [*cli, "router"], variables, folder) as router,
        Work("projector", [*cli, "projector"], variables, folder) as projector,
        Work("simulator", [*cli, *simulate], variables, folder) as simulator,
    ):
        target = _target(simulator)
        for worker in (router, projector):
            worker.wait_for("assigned")
        with Work("bridge", [*cli, *ingest], _push_environment(pipeline, target), folder) as bridge:
            yield bridge, router, projector, simulator


def push_to_alert(
    pipeline: Pipeline, rate: int, seconds: float, accounts: int, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Milliseconds from an event's time to its alert in the hands of a consumer, the whole pipeline running."""
    with push_processes(pipeline, rate, accounts, folder) as works:
        latencies = _watch_alerts(pipeline, seconds)
        busy = {work.name: round(work.cpu_s(), 2) for work in works}
    if not latencies:
        raise ProcessFailed(f"no alert came; see {folder}")
    cuts = statistics.quantiles(latencies, n=1000, method="inclusive")
    progress(f"latency   {len(latencies)} alerts in {seconds:g} s, p50 {cuts[499]:.1f} ms, p99 {cuts[989]:.1f} ms")
    return {
        "alerts": len(latencies),
        "p50": round(cuts[499], 1),
        "p90": round(cuts[899], 1),
        "p99": round(cuts[989], 1),
        "max": round(max(latencies), 1),
        "cpu_s": busy,
    }


def _watch_alerts(pipeline: Pipeline, seconds: float) -> list[float]:
    """Read alerts as a subscriber would; what comes in the first fifth of the time is left out."""
    settings = pipeline.settings
    alerts = settings.topic("alerts")
    codec: Codec[Alert] = Codec(pipeline.catalog.topics["alerts"][0], pipeline.schema_ids["alerts"])
    partitions = pipeline.partitions_of([alerts])
    ends = end_offsets(settings, partitions)
    consumer = Consumer(consumer_config(settings, group_id=settings.group("bench")))
    consumer.assign([confluent_kafka.TopicPartition(*tp, ends[tp]) for tp in partitions])
    began: float | None = None
    limit = time.monotonic() + _LIMIT_S
    latencies: list[float] = []
    while began is None or time.monotonic() - began < seconds:
        message = consumer.poll(_POLL_S)
        now = time.time()
        if message is not None:
            began = began or time.monotonic()
            if time.monotonic() - began >= seconds * WARM_UP_SHARE:
                alert = codec.decode(cast("KafkaRecord", message).value() or b"")
                latencies.append((now - alert["event_time"] / 1e6) * 1000)
        elif began is None and time.monotonic() > limit:
            break
    consumer.close()
    return latencies


def _target(server: Work) -> str:
    server.wait_for("listening on")
    found = _LISTENING.search(server.text())
    assert found is not None  # noqa: S101 (just seen)
    return found[1]


def _push_environment(pipeline: Pipeline, target: str) -> dict[str, str]:
    return settings_environment(pipeline.settings, grpc_target=target, grpc_tls=False, app_key=_KEY, app_secret=_SECRET)
