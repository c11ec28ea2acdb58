"""The lake under kills, zombies, foreign commits and lies: each record stays one row, or the worker refuses."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from decimal import Context, Decimal, localcontext
from pathlib import Path
from typing import Any
from uuid import uuid4

import fastavro
import lake_faults
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from kafka_cluster import KafkaCluster
from lake_folder import LakeFolder
from pipeline_processes import Pipeline, environment, eventually
from pyiceberg.exceptions import CommitFailedException

from broker_events.runtime.kafka.clients import client_config, producer_config
from broker_events.runtime.process.errors import Fenced
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.frame import frame
from broker_events.schemas.registry import Registry, desired_subjects
from broker_events.sinks.lake.iceberg.store import RETRIES, LakeStore

TRANSFER = load_catalog().topics["event.transfer"][0]
TABLE = "event_transfer"
ONE: dict[str, object] = {"lake_tables": TABLE}
# Amounts whose two's complement takes 1 to 16 bytes, negative ones too, and the largest that fits.
AMOUNTS = [
    sign * number
    for length in range(1, 17)
    for sign in (1, -1)
    if (number := min(2 ** (8 * length - 1) - 1, 10**38 - 1))
]
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def pipeline(cluster: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    made = Pipeline(cluster, f"test-{uuid4().hex[:12]}", tmp_path_factory.mktemp("lake"), partitions=2).made()
    # Kafka would delete records with times of 400 days while the tests run.
    resource = ConfigResource(ResourceType.TOPIC, made.settings.topic("event.transfer"))
    forever = ConfigEntry("retention.ms", "-1", incremental_operation=AlterConfigOpType.SET)
    resource.add_incremental_config(forever)
    admin = AdminClient(client_config(made.settings))  # with a name: without one its futures fail
    [done] = admin.incremental_alter_configs([resource]).values()
    done.result()
    return made


@pytest.fixture(scope="module")
def transfers(pipeline: Pipeline) -> Transfers:
    """The records of all tests so far: each test fills a lake of its own from the beginning."""
    return Transfers(pipeline)


@pytest.fixture
def lake(pipeline: Pipeline, tmp_path: Path) -> LakeFolder:
    """One empty table, of transfers."""
    return LakeFolder(pipeline, tmp_path / "lake", **ONE).made()


class Transfers:
    """Writes transfer records, and knows what they add up to."""

    def __init__(self, pipeline: Pipeline) -> None:
        settings = pipeline.settings
        registry = Registry(settings.schema_registry_url)
        subject = next(s for s in desired_subjects(load_catalog(), settings.topic_prefix) if "event.transfer" in s.name)
        self._frame = frame(registry.resolve(subject.name, subject.schema))
        self._schema = fastavro.parse_schema(TRANSFER.schema or {})
        self._pipeline = pipeline
        self.count = 0
        self.amount = Decimal(0)

    def send(self, number: int, *, days: int = 1, amounts: list[int] | None = None) -> None:
        """Write records in one transaction per call, so a marker is the last offset; over this many days."""
        from confluent_kafka import Producer  # noqa: PLC0415 (one producer per transaction)

        settings = self._pipeline.settings
        producer = Producer(producer_config(settings, transactional_id=f"{settings.topic_prefix}.{uuid4()}"))
        producer.init_transactions()
        producer.begin_transaction()
        for index in range(number):
            digits = amounts[index] if amounts else self.count * 10**16
            amount = Decimal(digits).scaleb(-18, Context(prec=40))
            producer.produce(
                settings.topic("event.transfer"),
                self.value(f"event-{self.count}", amount),
                f"ACC-{index % 7}",
                headers=[("raw_offset", b"%d" % self.count)],
                timestamp=1_700_000_000_000 + (index % days) * DAY_MS,
            )
            self.count += 1
            self.amount = Context(prec=60).add(self.amount, amount)
        producer.commit_transaction()

    def value(self, event_id: str, amount: Decimal) -> bytes:
        out = io.BytesIO()
        out.write(self._frame)
        record: dict[str, Any] = {
            "event_id": event_id,
            "event_type": "FUNDING",
            "biz_type": "TRANSFER",
            "event_time": 1_700_000_000_000_000,
            "event_time_text": "2023-11-14T22:13:20Z",
            "amount": amount,
            "currency": "USD",
            "status": "COMPLETED",
            "extra": {"/payload/new": "1"},
        }
        fastavro.schemaless_writer(out, self._schema, record)
        return out.getvalue()

    def check(self, lake: LakeFolder) -> None:
        """Every record is one row: by `lake verify`, and by DuckDB's counts and sum."""
        assert lake.problems() == []
        found = lake.query("count(*), count(DISTINCT event_id), sum(amount)", TABLE)
        assert found == (self.count, self.count, self.amount)


def killed(lake: LakeFolder, point: str, number: int) -> int:
    """Run the worker until it kills itself at the point, or to the end; return its exit code."""
    command = [sys.executable, lake_faults.__file__, point, str(number), "--until-end"]
    variables = environment(lake.pipeline.settings, **lake.settings, lake_commit_records=300)
    return subprocess.run(command, env=variables, check=False, capture_output=True).returncode


@pytest.mark.parametrize("point", lake_faults.POINTS)
def test_a_kill_at_any_point_neither_loses_nor_doubles_a_row(
    lake: LakeFolder, transfers: Transfers, point: str
) -> None:
    transfers.send(500)
    assert killed(lake, point, 2 if "catalog" in point else 1) == -signal.SIGKILL
    transfers.send(100)
    lake.fill()
    transfers.check(lake)


def test_a_commit_whose_answer_is_lost_is_neither_repeated_nor_removed(lake: LakeFolder, transfers: Transfers) -> None:
    transfers.send(500)
    assert killed(lake, lake_faults.LOST_ANSWER, 2) == 70
    lake.fill()
    transfers.check(lake)


def test_a_take_over_needs_a_snapshot(lake: LakeFolder, transfers: Transfers) -> None:
    """Of two commits of properties alone both succeed; of two take-overs one."""
    transfers.send(10)
    lake.fill()
    one, other = LakeStore(lake.table(TABLE)), LakeStore(lake.table(TABLE))
    for store in (one, other):
        with store.handle.transaction() as transaction:
            transaction.set_properties({"epoch": "2"})
    one, other = LakeStore(lake.table(TABLE)), LakeStore(lake.table(TABLE))
    before = one.ledger()
    assert before is not None
    one.take_over(before, replace(before, epoch=before.epoch + 1, commit_id="one"))
    with pytest.raises(Fenced):
        other.take_over(before, replace(before, epoch=before.epoch + 1, commit_id="other"))
    with pytest.raises(Fenced):
        other.commit(before, before.advanced({}, {}, "late"), [], lambda _: None)


def test_offsets_in_the_summary_alone_would_be_lost(lake: LakeFolder, transfers: Transfers) -> None:
    """A foreign rewrite and expiry leave no summary with offsets; the properties still have them."""
    transfers.send(10)
    lake.fill()
    table = lake.table(TABLE)
    table.overwrite(table.scan().to_arrow())
    head = table.current_snapshot()
    assert head is not None
    table.maintenance.expire_snapshots().by_ids(
        [s.snapshot_id for s in table.snapshots() if s.snapshot_id != head.snapshot_id]
    ).commit()
    assert not any("broker-events.offsets" in str(snapshot.summary) for snapshot in lake.table(TABLE).snapshots())
    transfers.send(10)
    lake.fill()
    transfers.check(lake)


def test_a_worker_that_was_stopped_for_long_is_fenced(lake: LakeFolder, transfers: Transfers) -> None:
    transfers.send(100)
    with lake.worker("old") as old:
        old.wait_for(": committed ")
        os.kill(old.pid, signal.SIGSTOP)
        transfers.send(100)
        lake.fill()
        os.kill(old.pid, signal.SIGCONT)
        assert old.wait() == 4, old.log
        assert "another worker owns it" in old.log
    transfers.check(lake)


def test_foreign_commits_are_no_obstacle(lake: LakeFolder, transfers: Transfers) -> None:
    transfers.send(100)
    with lake.worker() as worker:
        worker.wait_for(": committed ")
        table = lake.table(TABLE)
        table.overwrite(table.scan().to_arrow())  # a compaction: another file with the same rows
        transfers.send(100)
        eventually(lambda: worker.log.count(": committed ") >= 2, lambda: worker.log)
        assert worker.stop() == 0
    transfers.check(lake)


def test_a_batch_over_400_days_is_one_commit(lake: LakeFolder, transfers: Transfers) -> None:
    transfers.send(800, days=400)
    lake.fill()
    transfers.check(lake)
    assert len(lake.table(TABLE).inspect.partitions()) == 400


def test_decimals_of_every_length_keep_their_value(lake: LakeFolder, transfers: Transfers) -> None:
    before = transfers.count
    transfers.send(len(AMOUNTS), amounts=AMOUNTS)
    lake.fill()
    with localcontext(Context(prec=40)):
        sent = {f"event-{before + index}": amount for index, amount in enumerate(AMOUNTS)}
        found = {row["event_id"]: int(row["amount"].scaleb(18)) for row in lake.rows(TABLE)}
    assert {event_id: found[event_id] for event_id in sent} == sent


def test_a_bad_record_stops_its_table_with_its_place(
    cluster: KafkaCluster, tmp_path: Path, lake: LakeFolder, transfers: Transfers
) -> None:
    transfers.send(10)
    lake.fill()
    before = len(lake.rows(TABLE))
    own = Pipeline(cluster, f"test-{uuid4().hex[:12]}", tmp_path, partitions=1).made()
    rows = LakeFolder(own, tmp_path / "own", **ONE).made()
    good = transfers.value("bad", Decimal(1))
    own.produce("event.transfer", good, "ACC-1")
    record = own.produce("event.transfer", good + b"\0", "ACC-1")
    done = rows.command("--until-end")
    assert done.returncode == 3, done.stderr
    assert f"[{record.partition()}]@{record.offset()}" in done.stderr
    assert "1 bytes follow it" in done.stderr
    assert rows.rows(TABLE) == []
    assert len(lake.rows(TABLE)) == before


def test_a_rolled_back_table_is_refused(lake: LakeFolder, transfers: Transfers) -> None:
    transfers.send(10)
    lake.fill()
    snapshot = lake.table(TABLE).current_snapshot()
    assert snapshot is not None
    transfers.send(10)
    lake.fill()
    lake.table(TABLE).manage_snapshots().rollback_to_snapshot(snapshot.snapshot_id).commit()
    done = lake.command("--until-end")
    assert done.returncode == 2
    assert "was rolled back" in done.stderr
    assert lake.command("verify").returncode == 1


def test_rows_that_another_program_removed_or_doubled_are_found(lake: LakeFolder, transfers: Transfers) -> None:
    transfers.send(20)
    lake.fill()
    table = lake.table(TABLE)
    rows = table.scan().to_arrow()
    table.append(rows.slice(0, 1))
    assert lake.command("--until-end").returncode == 2
    assert lake.command("verify").returncode == 1


def test_expired_snapshots_do_not_lose_the_offsets(lake: LakeFolder, transfers: Transfers) -> None:
    for _ in range(3):
        transfers.send(10)
        lake.fill()
    table = lake.table(TABLE)
    head = table.current_snapshot()
    assert head is not None
    old = [s.snapshot_id for s in table.snapshots() if s.snapshot_id != head.snapshot_id]
    table.maintenance.expire_snapshots().by_ids(old).commit()
    transfers.send(10)
    lake.fill()
    transfers.check(lake)


def test_library_retries_are_refused(lake: LakeFolder, transfers: Transfers) -> None:
    transfers.send(10)
    with lake.table(TABLE).transaction() as transaction:
        transaction.set_properties({RETRIES: "4"})
    done = lake.command("--until-end")
    assert done.returncode == 2
    assert RETRIES in done.stderr


@pytest.mark.parametrize("retries", ["0", "4"])
def test_only_without_library_retries_a_zombie_is_refused(lake: LakeFolder, transfers: Transfers, retries: str) -> None:
    """Shows that the fence holds by the retry setting, and that this test can fail."""
    transfers.send(10)
    lake.fill()
    with lake.table(TABLE).transaction() as transaction:
        transaction.set_properties({RETRIES: retries})
    zombie = lake.table(TABLE)
    rows = zombie.scan().to_arrow()
    lake.table(TABLE).append(rows)
    if retries == "0":
        with pytest.raises(CommitFailedException):
            zombie.append(rows)
    else:
        zombie.append(rows)
    assert len(lake.rows(TABLE)) == (2 if retries == "0" else 3) * len(rows)


def test_random_kills(lake: LakeFolder, transfers: Transfers) -> None:
    """Kill at random points; LAKE_ROUNDS and LAKE_SEED choose how often and which."""
    chance = random.Random(int(os.environ.get("LAKE_SEED", "1")))  # noqa: S311 (repeatable)
    for _ in range(int(os.environ.get("LAKE_ROUNDS", "3"))):
        transfers.send(chance.randint(1, 700), days=chance.choice([1, 3]))
        killed(lake, chance.choice([*lake_faults.POINTS]), chance.randint(1, 4))
    lake.fill()
    transfers.check(lake)


def test_a_recreated_topic_is_refused(lake: LakeFolder, transfers: Transfers) -> None:
    transfers.send(10)
    lake.fill()
    topic = lake.pipeline.settings.topic("event.transfer")
    admin = AdminClient(client_config(lake.pipeline.settings))
    admin.delete_topics([topic])[topic].result()
    eventually(lambda: lake.pipeline.command("topics", "apply").returncode == 0)
    done = lake.command("--until-end")
    assert done.returncode == 2
    assert "topic id" in done.stderr
