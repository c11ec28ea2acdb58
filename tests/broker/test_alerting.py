"""Real Prometheus and Alertmanager on a real bridge: a stalled one pages, and its recovery resolves.

The committed rules with their durations divided by 60, and silence judged after 3 s instead of 90.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from bridge_process import BridgeProcess, eventually, with_topics
from kafka_cluster import KafkaCluster
from monitoring import Monitoring
from push_server import PushServer

from broker_events.ingest.sources.event_push_pb2 import SubscribeRequest, SubscribeResponse

PING_S = 0.3


@pytest.fixture
def talks() -> threading.Event:
    """While it is set, the broker pings."""
    event = threading.Event()
    event.set()
    return event


def test_a_stalled_bridge_pages_and_its_recovery_resolves(
    cluster: KafkaCluster, topic_prefix: str, tmp_path: Path, talks: threading.Event
) -> None:
    def pings(server: PushServer, _: SubscribeRequest, context: grpc.ServicerContext) -> Iterator[SubscribeResponse]:
        yield SubscribeResponse(type=SubscribeResponse.SubscribeSuccess)
        while context.is_active() and not server.closing.wait(PING_S):
            if talks.is_set():
                yield SubscribeResponse(type=SubscribeResponse.Ping)

    settings = with_topics(cluster, topic_prefix)
    with PushServer([], pings) as server, BridgeProcess(settings, tmp_path, port=server.port) as bridge:
        bridge.wait_for("the push stream is open")
        target = f"127.0.0.1:{bridge.port}"
        with Monitoring(tmp_path, {"bridge": target}) as monitoring:

            def paged(status: str, alert: str, **labels: str) -> None:
                eventually(
                    lambda: monitoring.statuses(alert, **labels)[-1:] == [status],
                    lambda: f"{alert} {status}, got {monitoring.notified}",
                )

            eventually(lambda: bool(monitoring.query('up{job="bridge"} == 1')), lambda: "a scrape")
            # The broker stalls: the stream is open, and nothing comes.
            talks.clear()
            paged("firing", "BrokerEventsBridgeSilent", job="bridge")
            talks.set()
            paged("resolved", "BrokerEventsBridgeSilent", job="bridge")
            # The bridge stalls: the process is there, and doesn't answer.
            bridge.signal(signal.SIGSTOP)
            paged("firing", "BrokerEventsWorkerMissing", role="bridge")
            bridge.signal(signal.SIGCONT)
            paged("resolved", "BrokerEventsWorkerMissing", role="bridge")

            assert monitoring.statuses("BrokerEventsWorkerMissing", role="bridge") == ["firing", "resolved"]
            notice = next(n for n in monitoring.notified if n["labels"]["alertname"] == "BrokerEventsBridgeSilent")
            assert f"The bridge {target} has heard nothing from the brokerage for " in notice["annotations"]["summary"]
            assert notice["labels"]["severity"] == "page"
