"""kill -9 of everything under load: nothing lost, doubled or out of order, state exact, every alert exactly once."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from kafka_cluster import KafkaCluster
from kill_schedule import draw
from pipeline_run import Load, drain, pipeline, strike
from workers import Group

log = logging.getLogger(__name__)

SEED = int(os.environ.get("CHAOS_SEED", "20"))
FAULTS = ("malformed=0.01", "duplicate:2=0.002", "replay:150=/3000", "disconnect=@7000")


def test_what_was_pushed_is_there_exactly_once_through_kills(
    cluster: KafkaCluster, topic_prefix: str, tmp_path: Path
) -> None:
    load = Load(events=20_000, rate=2000, seed=SEED, faults=FAULTS)
    with pipeline(cluster, topic_prefix, tmp_path, load) as run:
        workers = [run.router("r0"), run.router("r1"), run.projector("p0"), run.projector("p1"), run.bridge()]
        with Group(workers) as group:
            group.tend()
            while not run.report["log"]["events"]:
                time.sleep(0.05)
            began = time.monotonic()
            schedule = draw(SEED, list(group.workers), seconds=11, kills=1, stops=1)
            strike(group, schedule)
            struck_s = time.monotonic() - began
            drained_s = drain(run, group)
            ends = group.stop()
        report = run.judge()
    lives = {worker.name: (worker.lives, worker.kills, worker.restarts_asked) for worker in workers}
    log.info("seed %d: struck %.1f s, drained %.1f s, (lives, kills, 70s) %s", SEED, struck_s, drained_s, lives)
    log.info("ends %s\n%s", ends, report)
    assert report.is_clean, f"seed {SEED}, {schedule}\n{report}"
    assert all(code == 0 for code, _ in ends.values()), ends
    assert all(worker.kills for worker in workers)
    assert report.compared["events"] >= load.events
    assert report.compared["duplicates"] > 100
