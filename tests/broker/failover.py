"""How late alerts are when a worker is killed and started again: `python tests/broker/failover.py --kills 10`.

Production timeouts. One router and two projectors; a killed one is started at once under the same instance id, as a
supervisor does. At the kill each partition gets an account that becomes liquidate-only.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

sys.path.insert(0, str(Path(__file__).parents[1]))

from confluent_kafka import Consumer, TopicPartition
from kafka_cluster import BROKERS, KafkaCluster, chosen_broker
from pipeline_processes import PATIENCE_S, Pipeline, Worker, envelope

from broker_events.runtime.kafka.clients import consumer_config

PARTITIONS: Final = 4
TIMEOUTS: Final = {"session_timeout_ms": 10_000, "transaction_timeout_ms": 10_000}
WORKERS: Final = (("router", "a"), ("projector", "a"), ("projector", "b"))


class Failover:
    """A pipeline whose workers are killed one at a time."""

    def __init__(self, cluster: KafkaCluster, topic_prefix: str, folder: Path) -> None:
        self.pipeline = Pipeline(cluster, topic_prefix, folder, partitions=PARTITIONS).made()
        self.workers: dict[tuple[str, str], Worker] = {}
        settings = self.pipeline.settings
        self._alerts = Consumer(consumer_config(settings, group_id=f"{topic_prefix}.test"))
        self._alerts.assign([TopicPartition(settings.topic("alerts"), number, 0) for number in range(PARTITIONS)])

    def __enter__(self) -> Self:
        for app, name in WORKERS:
            self._start(app, name)
        for worker in self.workers.values():
            worker.wait_ready()
        self._send()
        self._wait_for_alerts()
        return self

    def __exit__(self, *_error: object) -> None:
        for worker in self.workers.values():
            worker.kill()
        self._alerts.close()

    def kill(self, app: str, name: str) -> float:
        """Kill a worker and start it again; return the seconds until each partition has its alert."""
        began = time.monotonic()
        self.workers[app, name].kill()
        self._send()
        self._start(app, name)
        self._wait_for_alerts()
        took = time.monotonic() - began
        self.workers[app, name].wait_ready()
        return took

    def _start(self, app: str, name: str) -> None:
        self.workers[app, name] = self.pipeline.worker(app, name, **TIMEOUTS)

    def _send(self) -> None:
        for number in range(PARTITIONS):
            account = f"ACC-{uuid.uuid4().hex[:8]}"
            payload = {"account_id": account, "account_number": account, "biz_type": "ACCOUNT_UPDATE"}
            payload["restrictions"] = ["US_STOCK_LIQUIDATE_ONLY"]  # type: ignore[assignment]
            self.pipeline.produce("raw", envelope(str(uuid.uuid4()), "ACCOUNT", payload), account, number)

    def _wait_for_alerts(self) -> None:
        waiting, deadline = set(range(PARTITIONS)), time.monotonic() + PATIENCE_S
        while waiting:
            assert time.monotonic() < deadline, f"no alert in partitions {sorted(waiting)}"
            message = self._alerts.poll(0.1)
            if message is not None and message.error() is None:
                waiting.discard(message.partition())


def measured(failover: Failover, kills: int) -> Iterator[tuple[str, list[float]]]:
    """Seconds from each kill to the alerts, by app."""
    for app, name in (("router", "a"), ("projector", "b")):
        seconds = []
        for _ in range(kills):
            seconds.append(failover.kill(app, name))
            time.sleep(1)
        yield app, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10, help="of each worker")
    parser.add_argument("--logs", type=Path, help="folder for the workers' logs")
    options = parser.parse_args()
    kills = options.kills
    with ExitStack() as resources:
        folder = options.logs or Path(resources.enter_context(tempfile.TemporaryDirectory()))
        cluster = resources.enter_context(BROKERS[chosen_broker()]())
        failover = resources.enter_context(Failover(cluster, f"failover-{uuid.uuid4().hex[:8]}", folder))
        for app, seconds in measured(failover, kills):
            shown = " ".join(f"{each:.1f}" for each in seconds)
            print(f"{app}: median {statistics.median(seconds):.1f} s, most {max(seconds):.1f} s ({shown})", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
