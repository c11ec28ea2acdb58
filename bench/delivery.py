"""Measure delivery to a webhook: `python -m bench.delivery [--quick]`.

A storm: alerts that wait in the topic, and how fast one worker delivers them, with its CPU time and peak memory. Then
the whole pipeline at 1,000 events per second: the time from the push to the receiver. Broker, pipeline, simulator and
receiver share this machine.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bench.cluster import Pipeline
from bench.contenders import settings_environment
from bench.measurement import ProcessFailed, Work
from bench.push import push_processes
from broker_events.devstack.alert_receiver import AlertReceiver
from broker_events.devstack.stack import Stack
from broker_events.runtime.kafka.clients import Headers
from broker_events.runtime.settings import Settings, load_settings
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.codec import Codec
from broker_events.schemas.storage_types import Alert

PARTITIONS: Final = 8
ACCOUNTS: Final = 10_000
RATE: Final = 1000
_LIMIT_S: Final = 300.0
_POLL_S: Final = 0.01
_CLI: Final = (sys.executable, "-m", "broker_events.cli")


def storm(pipeline: Pipeline, alerts: int, folder: Path) -> dict[str, Any]:
    """Deliver alerts of many accounts that wait in the topic."""
    count = pipeline.load("alerts", _alerts(pipeline, alerts))
    receiver = AlertReceiver(folder)
    variables = settings_environment(pipeline.settings, delivery_receivers=receiver.start())
    with Work("deliver", [*_CLI, "deliver"], variables, folder) as deliver:
        first_at, seen, peak = 0.0, 0, 0
        limit = time.monotonic() + _LIMIT_S
        while seen < count:
            seen = receiver.delivered().alerts
            first_at = first_at or (time.monotonic() if seen else 0.0)
            peak = max(peak, deliver.memory_bytes())
            if time.monotonic() > limit or not deliver.is_running:
                raise deliver.failed(f"has delivered {seen} of {count} alerts")
            time.sleep(_POLL_S)
        seconds = time.monotonic() - first_at
        found = {
            "alerts": count,
            "seconds": round(seconds, 2),
            "webhooks_per_second": round(count / seconds),
            "cpu_us_per_webhook": round(deliver.cpu_s() / count * 1e6),
            "peak_mb": round(peak / 1e6),
        }
    receiver.stop()
    return found


def push_to_receiver(pipeline: Pipeline, seconds: float, folder: Path) -> dict[str, Any]:
    """Milliseconds from an event's time to its webhook, the whole pipeline running."""
    receiver = AlertReceiver(folder)
    variables = settings_environment(pipeline.settings, delivery_receivers=receiver.start())
    with (
        Work("deliver", [*_CLI, "deliver"], variables, folder) as deliver,
        push_processes(pipeline, RATE, ACCOUNTS, folder) as _,
    ):
        deliver.wait_for("assigned")
        time.sleep(seconds / 3)
        receiver.forget()  # the first ones wait for a start
        time.sleep(seconds)
        alerts, latency_ms = receiver.delivered()
    receiver.stop()
    if latency_ms is None:
        raise ProcessFailed(f"no alert came; see {folder}")
    return {"alerts": alerts, **dict(zip(("p50_ms", "p99_ms", "max_ms"), latency_ms, strict=True))}


def _alerts(pipeline: Pipeline, count: int) -> Iterator[tuple[str, bytes, Headers]]:
    codec: Codec[Alert] = Codec(pipeline.catalog.topics["alerts"][0], pipeline.schema_ids["alerts"])
    for number in range(count):
        account, alert_id = f"{number % ACCOUNTS:012}", str(uuid.uuid4())
        alert: Any = dict.fromkeys(Alert.__annotations__) | {
            "alert_id": alert_id,
            "rule": "TRANSFER_RETURNED",
            "rule_version": 1,
            "status": "FIRING",
            "severity": "warning",
            "dedup_key": f"TRANSFER_RETURNED/{account}/{number}",
            "account_key": account,
            "account_id": account,
            "subject": str(number),
            "first_sight": False,
            "summary": "ACH DEPOSIT of 1000 USD returned",
            "event_id": alert_id,
            "event_type": "FUNDING",
            "biz_type": "TRANSFER",
            "event_time": time.time_ns() // 1000,
            "event_time_text": "2026-01-31T09:30:00Z",
            "source_topic": "broker.event.transfer",
            "source_partition": 0,
            "source_offset": number,
        }
        yield account, codec.encode(alert), [("ce_id", alert_id.encode()), ("ce_specversion", b"1.0")]


def main(arguments: list[str]) -> int:
    """Measure, and print the numbers as JSON. Returns the exit code."""
    if arguments not in ([], ["--quick"]):
        sys.stderr.write("usage: python -m bench.delivery [--quick]\n")
        return 2
    storms, seconds = ((1000,), 9.0) if arguments else ((5000, 30_000), 60.0)
    with tempfile.TemporaryDirectory(prefix="bench-delivery-") as folder, Stack(progress=_say) as stack:

        def pipeline(prefix: str) -> Pipeline:
            settings: Settings = load_settings(
                kafka_bootstrap_servers=stack.bootstrap_servers,
                schema_registry_url=stack.registry_url,
                topic_prefix=prefix,
                partitions=PARTITIONS,
            )
            return Pipeline(settings, load_catalog())

        found: dict[str, Any] = {}
        for alerts in storms:
            found[f"storm_{alerts}"] = storm(pipeline(f"storm-{alerts}"), alerts, Path(folder))
            _say(json.dumps(found))
        found["push_to_receiver"] = push_to_receiver(pipeline("latency"), seconds, Path(folder))
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
