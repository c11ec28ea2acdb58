"""A killed worker that starts again has its partitions back at once; one that stops hands them over at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from failover import TIMEOUTS, Failover
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, credit, eventually

# Of a session of 10 s. The start of the process before it takes what the machine leaves it.
REJOINED_S = 5.0
HANDED_OVER_S = 5.0


@pytest.fixture
def failover(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> Iterator[Failover]:
    with Failover(cluster, topic_prefix, tmp_path) as failover:
        yield failover


def logged_at(log: str, text: str) -> datetime:
    """When a worker logged a line with this text first."""
    assert text in log, log
    return datetime.fromisoformat(next(line for line in log.splitlines() if text in line).split()[0])


@pytest.mark.parametrize(("app", "name"), [("router", "a"), ("projector", "b")])
def test_a_killed_worker_gets_its_partitions_back_at_once(failover: Failover, app: str, name: str) -> None:
    failover.kill(app, name)
    log = failover.workers[app, name].log
    took = logged_at(log, " reading ") - logged_at(log, "metrics and health on")
    assert took.total_seconds() < REJOINED_S, log


def test_a_worker_that_stops_hands_over(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> None:
    pipeline = Pipeline(cluster, topic_prefix, tmp_path).made()
    with pipeline.worker("router", "a", **TIMEOUTS) as first, pipeline.worker("router", "b", **TIMEOUTS) as second:
        first.wait_ready()
        second.wait_ready()
        eventually(lambda: second.metric("assigned_partitions") == 1)
        assert first.stop() == 0
        began = time.monotonic()
        eventually(lambda: second.metric("assigned_partitions") == 2)
        assert time.monotonic() - began < HANDED_OVER_S


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_worker_whose_name_another_takes_knows_it(
    cluster: KafkaCluster, topic_prefix: str, tmp_path: Path, *, busy: bool
) -> None:
    pipeline = Pipeline(cluster, topic_prefix, tmp_path).made()
    with pipeline.worker("router") as first:
        first.wait_ready()
        with pipeline.worker("router") as second:
            second.wait_ready()
            if busy:
                pipeline.produce("raw", credit("one"), "ACC-1")
            assert first.wait() == 4, first.log
            assert "taken over" in first.log
            pipeline.produce("raw", credit("two"), "ACC-1")
            pipeline.wait_for("event.credit", 1 + busy)
            assert second.stop() == 0
