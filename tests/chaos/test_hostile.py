"""The small `make chaos --calm`: hostile events through a pipeline without faults, judged one by one."""

from __future__ import annotations

import logging
from pathlib import Path

from kafka_cluster import KafkaCluster
from pipeline_run import Load, pipeline
from progress import drain
from workers import Group

log = logging.getLogger(__name__)

EVENTS = 8000
LOAD = Load(EVENTS, rate=5000, seed=11, accounts=60, faults=("duplicate:3=0.01",), hostile=0.95)


def test_hostile_events_arrive_once_and_raise_their_alerts(
    cluster: KafkaCluster, topic_prefix: str, tmp_path: Path
) -> None:
    with pipeline(cluster, topic_prefix, tmp_path, LOAD) as run:
        with Group([run.bridge(), run.router("r0"), run.projector("p0")]) as group:
            drain(run, group)
            group.stop()
        report = run.judge()
    log.info("%s", report)
    assert report.is_clean, str(report)
    assert report.compared["records of alerts"] > EVENTS / 20
    assert report.compared["records of quarantine"] > EVENTS / 20
    assert report.compared["duplicates"] > EVENTS / 20
