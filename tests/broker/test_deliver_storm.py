"""A storm of alerts in bounded memory, and Kafka down between a receiver's acceptance and the commit."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest
from aiohttp import web
from alert_receiver import AlertReceiver, accept, receivers_file, webhook
from kafka_cluster import KafkaCluster, chosen_broker
from pipeline_processes import Pipeline, eventually
from raised_alerts import AlertTopics, alert

from broker_events.devstack.stack import Stack
from broker_events.schemas.models import Delivery

STORM = 5000
PER_S = 1500
MOST_MB = 130


def peak_mb(pid: int) -> float:
    """Most resident memory so far."""
    (line,) = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmHWM")]
    return int(line.split()[1]) / 1000


def delivered(pipeline: Pipeline) -> list[str]:
    return [each.alert_id for each in pipeline.decoded("alerts.deliveries") if isinstance(each, Delivery)]


def test_a_storm_is_delivered_in_bounded_memory(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> None:
    pipeline = Pipeline(cluster, topic_prefix, tmp_path, partitions=2).made()
    topics = AlertTopics(pipeline)
    for part in range(10):
        topics.write(alert(f"ACC-{number % 50}", market=f"M{part}-{number}") for number in range(STORM // 10))
    with AlertReceiver() as receiver:
        file = receivers_file(tmp_path, webhook(receiver.url, max_per_s=str(PER_S)))
        with pipeline.worker("deliver", delivery_receivers=file) as worker:
            eventually(lambda: len(receiver.requests) >= STORM, lambda: worker.log)
            took_s = receiver.requests[-1].at_s - receiver.requests[0].at_s
            assert took_s >= STORM / PER_S * 0.9, "faster than max_per_s"
            assert peak_mb(worker.pid) < MOST_MB
            assert worker.stop() == 0, worker.log
    assert len(receiver.requests) == STORM
    found = delivered(pipeline)
    assert len(found) == len({*found}) == STORM


@pytest.mark.skipif(chosen_broker() != "embedded", reason="only an embedded broker can be killed")
def test_kafka_down_between_acceptance_and_commit(tmp_path: Path) -> None:
    with Stack(tmp_path / "stack") as stack:
        cluster = KafkaCluster(stack.bootstrap_servers, stack.registry_url)
        pipeline = Pipeline(cluster, "outage", tmp_path, partitions=2).made()
        alerts = [alert(f"ACC-{number % 5}", market=f"M{number}") for number in range(100)]
        AlertTopics(pipeline).write(alerts)
        killed = threading.Event()

        async def kills(_request: web.Request, _body: bytes, _before: int) -> web.StreamResponse:
            await asyncio.sleep(0.02)
            if len(receiver.requests) == 30 and not killed.is_set():
                stack.kafka.kill()
                killed.set()
            return web.Response(status=204)

        with AlertReceiver(kills) as receiver:
            file = receivers_file(tmp_path, webhook(receiver.url, max_in_flight="4"))
            with pipeline.worker("deliver", delivery_receivers=file) as worker:
                assert killed.wait(60), worker.log
                time.sleep(8)
                sent = len(receiver.requests)
                time.sleep(2)
                assert len(receiver.requests) == sent, "it sends on without being able to commit"
                receiver.behave = accept
                stack.kafka.restart()
                if worker.is_running:
                    eventually(lambda: not worker.is_running or len({*delivered(pipeline)}) == len(alerts))
            with pipeline.worker("deliver", delivery_receivers=file) as worker:
                worker.wait_ready()
                eventually(lambda: len({*delivered(pipeline)}) == len(alerts), lambda: worker.log)
                assert worker.stop() == 0, worker.log
        found = delivered(pipeline)
    assert sorted(found) == sorted(each["alert_id"] for each in alerts), "one record for each alert"
    assert {request.alert_id for request in receiver.accepted} == {*found}
