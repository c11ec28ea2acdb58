"""A pipeline moves to more partitions under load: no event or alert is lost, doubled or reordered."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter, defaultdict
from pathlib import Path

import orjson
import pytest
from bridge_process import BridgeProcess, headers_of, raw_records
from kafka_cluster import KafkaCluster
from pipeline_processes import COMMAND, Pipeline, envelope, environment, eventually
from simulator_process import simulator

from broker_events.runtime.consume.record import KafkaRecord
from broker_events.runtime.kafka.topic_reader import committed_offsets, read_to_end, topic_partitions
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.models import Alert

COUNT = 8000
# From before the first record to behind the handover, however fast the machine is.
KILLED_AFTER_S = (1.2, 1.8, 2.5, 4.0)
EVENTS = [contract.topics[0].name for contract in load_catalog().events.values()]


@pytest.fixture
def old(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> Pipeline:
    return Pipeline(cluster, topic_prefix, tmp_path, partitions=8).made()


@pytest.fixture
def wide(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> Pipeline:
    return Pipeline(cluster, f"{topic_prefix}-wide", tmp_path, partitions=48).made()


def to(wide: Pipeline) -> tuple[str, ...]:
    return ("copy", "--to-prefix", wide.settings.topic_prefix, "--partitions", str(wide.settings.partitions))


def consent(pipeline: Pipeline) -> tuple[str, str]:
    return ("--yes-write-simulated-events-to", pipeline.settings.topic_prefix)


class Copying:
    """`broker-events copy` as a process."""

    def __init__(self, old: Pipeline, wide: Pipeline, option: str) -> None:
        self._process = subprocess.Popen([*COMMAND, *to(wide), option], env=environment(old.settings))

    def end(self, number: signal.Signals) -> int:
        self._process.send_signal(number)
        return self._process.wait(30)


def kill_while_finishing(old: Pipeline, wide: Pipeline) -> None:
    for seconds in KILLED_AFTER_S:
        finishing = Copying(old, wide, "--finish")
        time.sleep(seconds)
        finishing.end(signal.SIGKILL)


def drained(pipeline: Pipeline, app: str, topics: list[str]) -> bool:
    settings = pipeline.settings
    partitions = [tp for topic in topics for tp in topic_partitions(settings, settings.topic(topic))]
    committed = committed_offsets(settings, settings.group(app), partitions)
    return not any(read_to_end(settings, {tp: offset or 0 for tp, offset in committed.items()}))


def in_order(records: list[KafkaRecord]) -> dict[bytes | None, list[str]]:
    """Event ids by account key, in the order of the topic."""
    found: dict[bytes | None, list[str]] = defaultdict(list)
    for record in records:
        if record.key() is not None:
            found[record.key()].append(headers_of(record)["event_id"])
    return found


@pytest.mark.timeout(600)
def test_a_pipeline_moves_from_8_to_48_partitions_under_load(old: Pipeline, wide: Pipeline, tmp_path: Path) -> None:
    journal, report = tmp_path / "journal.ndjson", tmp_path / "report.json"
    options = ("--rate", "120", "--count", str(COUNT), "--fault", "malformed=0.01", "--seed", "4")
    files = ("--journal", str(journal), "--report", str(report))
    with simulator(*options, *files) as port, wide.worker("router", "wide") as wide_router:
        with (
            BridgeProcess(old.settings, tmp_path, *consent(old), port=port) as bridge,
            old.worker("router") as router,
            old.worker("projector") as projector,
        ):
            eventually(lambda: len(raw_records(old.settings)) > 200)
            killed = Copying(old, wide, "--follow")
            eventually(lambda: len(raw_records(wide.settings)) > 300)
            killed.end(signal.SIGKILL)
            already = len(raw_records(wide.settings))
            stopped = Copying(old, wide, "--follow")
            eventually(lambda: len(raw_records(wide.settings)) > already + 50)
            assert stopped.end(signal.SIGINT) == 0
            assert bridge.stop() == 0
            eventually(lambda: drained(old, "router", ["raw"]) and drained(old, "projector", EVENTS))
            early = old.command(*to(wide), "--finish")
            assert (early.returncode, "1 members: let them read to the end, then stop them all" in early.stderr) == (
                2,
                True,
            ), early.stderr
            assert (router.stop(), projector.stop()) == (0, 0)
        moved = len(raw_records(old.settings))
        assert moved < COUNT, "the load must go on after the move"
        kill_while_finishing(old, wide)
        done = old.command(*to(wide), "--finish")
        assert done.returncode == 0, done.stderr
        assert "finished before" in old.command(*to(wide), "--finish").stdout
        with (
            BridgeProcess(wide.settings, tmp_path, *consent(wide), port=port) as wide_bridge,
            wide.worker("projector", "wide") as wide_projector,
        ):
            eventually(lambda: len(raw_records(wide.settings)) >= COUNT)
            eventually(lambda: drained(wide, "router", ["raw"]) and drained(wide, "projector", EVENTS))
            assert (wide_bridge.stop(), wide_router.stop(), wide_projector.stop()) == (0, 0, 0)
    before, after = raw_records(old.settings), raw_records(wide.settings)
    pushed = [orjson.loads(line)["id"] for line in journal.read_bytes().splitlines()]
    assert Counter(headers_of(record)["event_id"] for record in after) == Counter(pushed)
    old_order, wide_order = in_order(before), in_order(after)
    assert all(wide_order[key][: len(ids)] == ids for key, ids in old_order.items())
    copied = {headers_of(record)["event_id"]: record for record in after}
    for record in before:
        same = copied[headers_of(record)["event_id"]]
        assert (same.key(), same.value(), same.headers()) == (record.key(), record.value(), record.headers())
        assert same.timestamp() == record.timestamp()
    alerts = wide.read("alerts")
    values = {record.value() for record in alerts}
    assert len(values) == len(alerts)
    assert values >= {record.value() for record in old.read("alerts")}
    expected = json.loads(report.read_text(encoding="utf-8"))["expected_alerts"]
    seen = Counter((alert.rule, alert.status) for alert in map(wide.decode, alerts) if isinstance(alert, Alert))
    assert seen == {
        (rule, status): count
        for rule, counts in expected.items()
        for status, count in counts.items()
        if status != "active"
    }
    active = {record.key(): record.value() for record in wide.read("alerts.active")}
    assert sum(value is not None for value in active.values()) == sum(
        counts.get("active", 0) for counts in expected.values()
    )
    for pipeline in (old, wide):
        assert pipeline.command("ledger", "--deep").stdout.endswith("reconciled\n")
        rebuilt = pipeline.command("rebuild", "--partition", "5")
        assert rebuilt.stdout.endswith("equal\n"), rebuilt.stdout


def update(event_id: str, account: str, *restrictions: str) -> bytes:
    payload = {"biz_type": "ACCOUNT_UPDATE", "account_id": account, "restrictions": [*restrictions]}
    return envelope(event_id, "ACCOUNT", payload)


def test_an_event_after_the_move_counts_as_later_than_all_before(old: Pipeline, wide: Pipeline) -> None:
    """Of events with the same time, the one with the higher offset is the later one."""
    with wide.worker("router", "wide"):
        with old.worker("router") as router, old.worker("projector") as projector:
            others = [(f"OTHER-{number}", update(f"other-{number}", f"OTHER-{number}")) for number in range(400)]
            old.produce_all("raw", [*others, ("ACC-1", update("first", "ACC-1")), ("ACC-1", update("second", "ACC-1"))])
            eventually(lambda: drained(old, "router", ["raw"]) and drained(old, "projector", EVENTS))
            assert (router.stop(), projector.stop()) == (0, 0)
        assert old.read("alerts") == []
        done = old.command(*to(wide), "--finish")
        assert done.returncode == 0, done.stderr
        # Offsets are lower in the copy: fewer accounts share a partition.
        wide.produce("raw", update("after", "ACC-1", "US_STOCK_LIQUIDATE_ONLY"), "ACC-1")
        with wide.worker("projector", "wide"):
            (alert,) = wide.wait_for("alerts", 1)
    decoded = wide.decode(alert)
    assert isinstance(decoded, Alert)
    assert (decoded.status, decoded.subject) == ("FIRING", "US")
