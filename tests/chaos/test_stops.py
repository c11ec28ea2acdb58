"""Workers that are asked to stop, that freeze, or whose broker dies, while events flow."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from kafka_cluster import KafkaCluster, chosen_broker
from pipeline_run import Load, Pipeline, pipeline
from progress import drain
from workers import MUST_RESTART, Group
from writers import writers_of

from broker_events.devstack.kafka import EmbeddedKafka

log = logging.getLogger(__name__)

STOPS = int(os.environ.get("CHAOS_STOPS", "10"))
NEVER_ENDING = 10_000_000  # events
RATE = 500
STOP_S = 10.0
BALANCE_S = 40.0
STANDSTILL_S = 30.0
SESSION_S, TRANSACTION_S = 6, 4
FAULTS = ("malformed=0.01", "duplicate=0.005")


def shares(run: Pipeline, app: str) -> dict[str, int]:
    """How many partitions each member of the consumer group has, by instance id."""
    group = run.settings.group(app)
    admin = AdminClient(run.clients)
    description = admin.describe_consumer_groups([group])[group].result()
    return {
        member.client_id.removeprefix(f"{group}."): len(member.assignment.topic_partitions)
        for member in description.members
    }


def wait_for_balance(run: Pipeline, group: Group) -> None:
    """Return when the group is up and each of its workers has as many partitions as the other one of its kind."""
    group.wait_until_ready()
    deadline = time.monotonic() + BALANCE_S
    half = run.settings.partitions // 2
    while shares(run, "router") != {"r0": half, "r1": half} or {*shares(run, "projector").values()} != {half * 12}:
        group.tend()
        assert time.monotonic() < deadline, f"no balance:\n{group.tails()}"
        time.sleep(0.2)


def wait_for_flow(run: Pipeline, events: int) -> None:
    while run.report["log"]["events"] < events:
        time.sleep(0.05)


def test_sigterm_under_load_ends_every_worker_in_turn(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> None:
    """CHAOS_STOPS says how often; each worker is started again at once, and is up when its next turn comes."""
    load = Load(events=NEVER_ENDING, rate=RATE, seed=5, faults=FAULTS)
    took: dict[str, list[float]] = {name: [] for name in ("r0", "p0", "bridge", "r1", "p1")}
    with pipeline(cluster, topic_prefix, tmp_path, load) as run:
        workers = [run.router("r0"), run.router("r1"), run.projector("p0"), run.projector("p1"), run.bridge()]
        with Group(workers) as group:
            wait_for_balance(run, group)
            began = time.monotonic()
            for name in islice(cycle(took), STOPS):
                worker = group.workers[name]
                group.wait_until_ready(name)
                code, seconds = worker.stop()
                assert code == 0, worker.tail()
                assert name not in shares(run, "projector" if name in ("p0", "p1") else "router")
                took[name].append(round(seconds, 2))
                worker.start()
            in_all_s = time.monotonic() - began
            group.wait_until_ready()
            run.end_load()
            drain(run, Group(workers[:-1]))  # nobody pushes to the bridge any more: it isn't ready again
            assert {code for code, _ in group.stop().values()} == {0}
        report = run.judge()
    asked = {worker.name: worker.restarts_asked for worker in workers}
    log.info("%d stops in %.0f s took %s s, asked for a restart: %s", STOPS, in_all_s, took, asked)
    assert max(map(max, took.values())) < STOP_S
    assert report.is_clean, report


# A router whose commits take their time, as they do while a broker is away; the file says that one is under way.
COMMIT_S = 5
SLOW_COMMITS = f"""
import pathlib, sys, time
from broker_events.cli.main import main
from broker_events.runtime.kafka.transaction import Transaction
commit, marker = Transaction.commit, pathlib.Path(sys.argv.pop(1))
def slow(*arguments):
    marker.touch()
    time.sleep({COMMIT_S})
    commit(*arguments)
Transaction.commit = slow
main()
"""


def test_a_stop_during_a_slow_commit_ends_with_that_commit(
    cluster: KafkaCluster, topic_prefix: str, tmp_path: Path
) -> None:
    load = Load(events=NEVER_ENDING, rate=RATE, seed=9)
    with pipeline(cluster, topic_prefix, tmp_path, load) as run:
        marker = tmp_path / "commits"
        router = run.worker("r0", sys.executable, "-c", SLOW_COMMITS, str(marker), "router", "--instance-id", "r0")
        with Group([run.bridge(), router]) as group:
            group.wait_until_ready("r0")
            wait_for_flow(run, RATE)
            marker.unlink(missing_ok=True)
            while not marker.exists():
                time.sleep(0.01)
            code, seconds = router.stop()
            assert code == 0, router.tail()
            assert seconds < COMMIT_S + 1.5, "another round was begun"
            group.stop()


def test_a_frozen_worker_that_wakes_up_ends_itself(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> None:
    load = Load(events=10_000, rate=600, seed=6, faults=FAULTS)
    timeouts: dict[str, Any] = {"session_timeout_ms": SESSION_S * 1000, "transaction_timeout_ms": TRANSACTION_S * 1000}
    with pipeline(cluster, topic_prefix, tmp_path, load, **timeouts) as run:
        workers = [run.router("r0"), run.router("r1"), run.projector("p0"), run.projector("p1"), run.bridge()]
        with Group(workers) as group:
            wait_for_balance(run, group)
            wait_for_flow(run, 1000)
            frozen = [group.workers["r0"], group.workers["p0"]]
            for worker in frozen:
                worker.signal(SIGSTOP)
            woken_at = time.monotonic() + SESSION_S + TRANSACTION_S
            while time.monotonic() < woken_at:
                group.tend()
                time.sleep(0.05)
            for worker in frozen:
                worker.signal(SIGCONT)
            ended: dict[str, tuple[int, float]] = {}
            while len(ended) < len(frozen):
                assert time.monotonic() < woken_at + STOP_S, f"still alive:\n{group.tails()}"
                for worker in frozen:
                    code = worker.tend() if worker.name not in ended else None
                    if code is not None:
                        ended[worker.name] = code, time.monotonic() - woken_at
                time.sleep(0.01)
            drain(run, group)
            group.stop()
        report = run.judge()
    log.info("ended by themselves: %s", ended)
    assert {code for code, _ in ended.values()} == {MUST_RESTART}
    assert report.is_clean, report


@pytest.fixture
def mortal_kafka(cluster: KafkaCluster) -> Iterator[tuple[EmbeddedKafka, KafkaCluster]]:
    """Three brokers of our own to kill, with the session's registry: a lone one can leave transactions without end."""
    if chosen_broker() != "embedded":
        pytest.skip("only the embedded broker can be killed")
    with EmbeddedKafka(nodes=3) as kafka:
        yield kafka, KafkaCluster(kafka.bootstrap_servers, cluster.registry_url)


def test_a_broker_of_three_dies_and_nothing_stops_for_long(
    mortal_kafka: tuple[EmbeddedKafka, KafkaCluster], topic_prefix: str, tmp_path: Path
) -> None:
    kafka, cluster = mortal_kafka
    load = Load(events=10_000, rate=1000, seed=8, faults=FAULTS)
    with pipeline(cluster, topic_prefix, tmp_path, load, replication_factor=3) as run:
        workers = [run.router("r0"), run.router("r1"), run.projector("p0"), run.projector("p1"), run.bridge()]
        with Group(workers) as group:
            wait_for_balance(run, group)
            wait_for_flow(run, 3000)
            kafka.kill()
            began = time.monotonic()
            drain(run, group)
            drained_s = time.monotonic() - began
            kafka.restart()
            ends = group.stop()
        report = run.judge()
        folders = [log.parent / "data" for log in kafka.logs]
        writer = next(writers_of(["event.transfer[0]@0"], topic_prefix, folders, run.clients))
    asked = {worker.name: worker.restarts_asked for worker in workers}
    log.info("drained %.1f s, asked for a restart: %s, ends %s; %s", drained_s, asked, ends, writer)
    assert report.is_clean, report
    assert all(code == 0 for code, _ in ends.values()), ends
    assert drained_s < load.events / load.rate + STANDSTILL_S
    assert f"written by {topic_prefix}.router.r" in writer
