"""More quarantine than the settings allow: an alarm of a worker that goes on, or its end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, Worker, credit, eventually

ALARM = "quarantine_limit_exceeded"


@pytest.fixture
def pipeline(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> Pipeline:
    return Pipeline(cluster, topic_prefix, tmp_path, partitions=1).made()


def send(pipeline: Pipeline, name: str, count: int, *, bad: bool) -> None:
    members = {"amount": "much"} if bad else {}
    pipeline.produce_all("raw", [("ACC-1", credit(f"{name}-{number}", **members)) for number in range(count)])


def alarm(router: Worker) -> str:
    """Return what /ready says is wrong."""
    return str(json.loads(router.get("/ready")[1])["problem"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"quarantine_limit_share": 0.4, "quarantine_limit_records": 50}, "(QUARANTINE_LIMIT_SHARE 0.4)"),
        ({"quarantine_limit_consecutive": 100}, "100 consecutive records"),
    ],
)
def test_ready_fails_until_it_is_over(pipeline: Pipeline, settings: dict[str, object], said: str) -> None:
    with pipeline.worker("router", "a", **settings) as router:
        router.wait_ready()
        send(pipeline, "good", 60, bad=False)
        pipeline.wait_for("event.credit", 60)
        assert (router.is_ready(), router.metric(ALARM)) == (True, 0)
        send(pipeline, "bad", 100, bad=True)
        eventually(lambda: not router.is_ready())
        pipeline.wait_for("quarantine", 100)
        eventually(lambda: said in alarm(router), lambda: alarm(router))
        assert router.metric(ALARM) == 1
        send(pipeline, "better", 300, bad=False)
        eventually(router.is_ready)
        assert router.metric(ALARM) == 0
        assert router.stop() == 0
    assert "quarantine is within its limits again" in router.log
    assert len(pipeline.read("event.credit")) == 360


def test_a_worker_that_is_to_stop_commits_and_says_why(pipeline: Pipeline) -> None:
    settings = {"quarantine_limit_consecutive": 100, "quarantine_limit_action": "stop"}
    send(pipeline, "good", 10, bad=False)
    send(pipeline, "bad", 100, bad=True)
    with pipeline.worker("router", "a", **settings) as router:
        assert router.wait() == 3
    assert "Traceback" not in router.log
    assert router.log.splitlines()[-1].endswith(
        "ERROR   router 100 consecutive records were quarantined (QUARANTINE_LIMIT_CONSECUTIVE 100),"
        " and QUARANTINE_LIMIT_ACTION is stop"
    )
    assert len(pipeline.read("event.credit")) == 10
    assert len(pipeline.read("quarantine")) == 100

    send(pipeline, "later", 5, bad=False)
    with pipeline.worker("router", "a", **settings) as router:
        pipeline.wait_for("event.credit", 15)
        assert router.stop() == 0
    assert len(pipeline.read("quarantine")) == 100, "what was refused isn't read again"
