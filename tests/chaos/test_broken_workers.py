"""A pipeline whose guarantee is broken on purpose is found out: the same run as the chaos test, with other workers."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL

import pytest
from kafka_cluster import KafkaCluster
from pipeline_run import Load, Pipeline, pipeline
from progress import drain
from violations import Kind, Report, Stage
from workers import POLL_S, Group, Worker

from broker_events.audit.discrepancies import DiscrepancyKind
from broker_events.audit.ledger import audit_ranges, settled_ranges
from broker_events.runtime.kafka.topic_reader import topic_partitions

BROKEN_WORKER = Path(__file__).with_name("broken_worker.py")
HOSTILE = Load(events=1500, rate=5000, seed=3, accounts=30, hostile=1)
LOAD = Load(events=4000, rate=1000, seed=7, accounts=100, faults=("duplicate:2=0.005",))


def broken(run: Pipeline, flaw: str, app: str) -> Worker:
    marker = str(run.folder / "has-struck")
    return run.worker(app, sys.executable, str(BROKEN_WORKER), flaw, marker, app, "--instance-id", "broken")


def run_to_the_end(run: Pipeline, *workers: Worker) -> Report:
    """The bridge and these, until all is processed; a worker may kill itself."""
    with Group([run.bridge(), *workers]) as group:
        drain(run, group, also_well=(-SIGKILL,))
        group.stop()
    return run.judge()


def ledger(run: Pipeline) -> Counter[DiscrepancyKind]:
    """What the ledger finds wrong, counted."""
    partitions = topic_partitions(run.settings, run.settings.topic("raw"))
    found: Counter[DiscrepancyKind] = Counter()
    for each in audit_ranges(run.settings, settled_ranges(run.settings, partitions), processes=1, deep=True):
        found.update(each.discrepancies)
    return +found


def test_a_router_without_memory_of_duplicates(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> None:
    with pipeline(cluster, topic_prefix, tmp_path, LOAD) as run:
        report = run_to_the_end(run, run.router("r0", duplicate_window=0), run.projector("p0"))
        found = ledger(run)
    assert report.found(Stage.TYPED, Kind.DOUBLED) > 20, report
    assert report.found(Stage.RAW, Kind.DOUBLED) == 0, report
    assert found == {DiscrepancyKind.REPEATED: report.found(Stage.TYPED, Kind.DOUBLED)}


# What the one batch of a projector that is lost would have changed depends on the events in it.
OF_A_LOST_BATCH = {(stage, kind) for stage in (Stage.ALERTS, Stage.ACCOUNTS, Stage.MOVEMENTS) for kind in Kind}


@pytest.mark.parametrize(
    ("app", "flaw", "expected", "in_ledger"),
    [
        ("router", "outputs-first", {(Stage.TYPED, Kind.DOUBLED)}, {DiscrepancyKind.DOUBLED}),
        ("router", "offsets-first", {(Stage.TYPED, Kind.LOST)}, {DiscrepancyKind.LOST}),
        ("projector", "offsets-first", OF_A_LOST_BATCH, set()),
    ],
)
def test_a_worker_whose_offsets_and_outputs_are_apart(
    cluster: KafkaCluster,
    topic_prefix: str,
    tmp_path: Path,
    app: str,
    flaw: str,
    expected: set[tuple[Stage, Kind]],
    in_ledger: set[DiscrepancyKind],
) -> None:
    with pipeline(cluster, topic_prefix, tmp_path, LOAD) as run:
        well = run.projector("p0") if app == "router" else run.router("r0")
        report = run_to_the_end(run, broken(run, flaw, app), well)
        found = ledger(run)
    assert (tmp_path / "has-struck").exists()
    assert expected & set(report.counters), report
    assert found.keys() == in_ledger, found


@pytest.mark.parametrize(
    ("flaw", "expected"),
    [
        ("alert-lost", {(Stage.ALERTS, Kind.LOST)}),
        ("alert-doubled", {(Stage.ALERTS, Kind.DOUBLED)}),
        ("amount-changed", {(Stage.ALERTS, Kind.CHANGED)}),
        ("muted-by-future", {(Stage.ALERTS, Kind.LOST), (Stage.ACCOUNTS, Kind.CHANGED)}),
        ("exact-spelling", {(Stage.ALERTS, Kind.LOST), (Stage.ACTIVE, Kind.LOST)}),
    ],
)
def test_a_projector_with_a_wrong_rule(
    cluster: KafkaCluster, topic_prefix: str, tmp_path: Path, flaw: str, expected: set[tuple[Stage, Kind]]
) -> None:
    with pipeline(cluster, topic_prefix, tmp_path, HOSTILE) as run:
        report = run_to_the_end(run, run.router("r0"), broken(run, flaw, "projector"))
    assert expected <= set(report.counters), str(report)
    assert not {stage for stage, _ in report.counters} & {Stage.RAW, Stage.TYPED, Stage.QUARANTINE}, str(report)


def test_a_router_that_gives_partitions_back_without_a_commit(
    cluster: KafkaCluster, topic_prefix: str, tmp_path: Path
) -> None:
    load = replace(LOAD, rate=200)  # long enough for the second router to come in the middle of it
    with pipeline(cluster, topic_prefix, tmp_path, load) as run:
        second = run.router("r0")
        second.start_at = math.inf
        workers = [run.bridge(), broken(run, "revoke-without-commit", "router"), second, run.projector("p0")]
        with Group(workers) as group:
            while not (tmp_path / "has-struck").exists():
                group.tend()
                time.sleep(POLL_S)
            second.start_at = 0.0
            drain(run, group)
            group.stop()
        report = run.judge()
    assert report.found(Stage.TYPED, Kind.DOUBLED) > 5, report
