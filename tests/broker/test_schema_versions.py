"""An upgrade as documented: workers of two schema versions side by side, and what `ledger --deep` says of both."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import confluent_kafka
from awards import command_line, copy_catalog
from confluent_kafka import Consumer
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, Worker, envelope, environment, eventually

from broker_events.runtime.consume.record import KafkaRecord
from broker_events.runtime.kafka.clients import consumer_config
from broker_events.runtime.kafka.topic_reader import end_offsets, topic_partitions
from broker_events.runtime.schema_ids import open_registry
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.models import Alert, MovementState, Transfer
from broker_events.schemas.registry import desired_subjects

TYPES = len(load_catalog().events)
ACCOUNTS = {f"ACC-{number}": Decimal(number) + Decimal("100.50") for number in range(12)}  # in both partitions


def add_field(root: Path, contract: str, name: str) -> None:
    """Add a nullable string to a contract of this catalog, before its last field."""
    path = root / contract / "schema.avsc"
    schema = json.loads(path.read_text(encoding="utf-8"))
    new = {"name": name, "type": ["null", "string"], "default": None, "class": "internal", "doc": "New."}
    schema["fields"].insert(-1, new)
    path.write_text(json.dumps(schema), encoding="utf-8")


def deep_ledger(pipeline: Pipeline, root: Path) -> subprocess.CompletedProcess[str]:
    """Run the ledger of the newer version."""
    arguments = command_line(root, "ledger", "--deep", "--processes", "1")
    variables = environment(pipeline.settings)
    return subprocess.run(arguments, env=variables, check=False, capture_output=True, text=True)


def newer_worker(pipeline: Pipeline, root: Path, app: str) -> Worker:
    arguments = command_line(root, app, "--instance-id", f"{app}-new", "--http-port", "0")
    return Worker(arguments, environment(pipeline.settings), pipeline.folder / f"{app}-new.log")


def transfer(account: str, status: str, round_: int) -> bytes:
    payload = {
        "account_id": account,
        "client_request_id": f"{account}-{round_}",
        "transfer_type": "ACH",
        "amount": str(ACCOUNTS[account]),
        "currency": "USD",
        "direction": "DEPOSIT",
        "status": status,
        "update_time": "2026-01-31T09:30:00Z",
        "biz_type": "TRANSFER",
        "memo": f"for {account}",
    }
    at = f"2026-01-31T0{round_}:{30 if status == 'COMPLETED' else 45}:00Z"
    return envelope(f"{account}-{round_}-{status}", "FUNDING", payload, at)


def register(pipeline: Pipeline, root: Path) -> None:
    """Register the newer version's schemas, which the older version does not object to."""
    registry, prefix = open_registry(pipeline.settings), pipeline.settings.topic_prefix
    subjects = desired_subjects(load_catalog(root), prefix)
    assert [found.problem for found in registry.check(subjects)] == ["new version"] * 2
    registry.register(subjects)
    assert registry.check(desired_subjects(load_catalog(), prefix)) == []


def share(partitions: Mapping[Worker, int]) -> None:
    """Wait until each worker has so many partitions, and its state."""
    for worker in partitions:
        worker.wait_ready()
    eventually(lambda: all(worker.metric("assigned_partitions") == count for worker, count in partitions.items()))


def schema_ids(records: list[KafkaRecord]) -> set[bytes]:
    return {(record.value() or b"")[1:5] for record in records}


def push(pipeline: Pipeline, round_: int) -> None:
    """Complete and return a transfer of each account, and wait for the alerts."""
    for status in ("COMPLETED", "RETURNED"):
        pipeline.produce_all("raw", [(account, transfer(account, status, round_)) for account in ACCOUNTS])
    pipeline.wait_for("alerts", round_ * len(ACCOUNTS))


def check(pipeline: Pipeline, rounds: int) -> None:
    """Compare every typed record, state and alert with what was pushed, as a reader of the older version."""
    events = [event for event in pipeline.decoded("event.transfer") if isinstance(event, Transfer)]
    numbers = range(1, rounds + 1)
    assert sorted((event.event_id, event.amount) for event in events) == sorted(
        (f"{account}-{number}-{status}", amount)
        for account, amount in ACCOUNTS.items()
        for status in ("COMPLETED", "RETURNED")
        for number in numbers
    )
    wanted = sorted((account, amount) for account, amount in ACCOUNTS.items() for _ in numbers)
    alerts = [alert for alert in pipeline.decoded("alerts") if isinstance(alert, Alert)]
    assert sorted((alert.account_key, alert.transfer.amount) for alert in alerts if alert.transfer) == wanted
    states = {record.key(): pipeline.decode(record) for record in pipeline.read("state.movements")}
    movements = [state for state in states.values() if isinstance(state, MovementState)]
    assert sorted((state.account_key, state.amount) for state in movements) == wanted
    assert {state.status for state in movements} == {"RETURNED"}
    assert pipeline.read("quarantine") == []


def test_old_and_new_workers_side_by_side(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> None:
    pipeline = Pipeline(cluster, topic_prefix, tmp_path).made()
    root = tmp_path / "schemas"
    copy_catalog(root)
    add_field(root, "events/transfer", "memo")
    add_field(root, "state/movement-state", "desk")
    with pipeline.worker("router") as old_router, pipeline.worker("projector") as old_projector:
        old_router.wait_ready()
        old_projector.wait_ready()
        push(pipeline, 1)
        register(pipeline, root)
        with newer_worker(pipeline, root, "router") as router, newer_worker(pipeline, root, "projector") as projector:
            share({old_router: 1, old_projector: TYPES, router: 1, projector: TYPES})
            before = len(pipeline.read("event.transfer"))
            push(pipeline, 2)
            assert len(schema_ids(pipeline.read("event.transfer")[before:])) == 2
            check(pipeline, 2)
            assert (old_router.stop(), old_projector.stop()) == (0, 0)
            share({router: 2, projector: 2 * TYPES})
            push(pipeline, 3)
            assert (router.stop(), projector.stop()) == (0, 0)
    check(pipeline, 3)
    done = deep_ledger(pipeline, root)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "reconciled"), done.stdout + done.stderr

    first = pipeline.read("event.transfer")[0]  # of the older version
    amount = ACCOUNTS[(first.key() or b"").decode()]
    unscaled = int(amount * 10**18).to_bytes(9, "big")
    wrong = (first.value() or b"").replace(unscaled, int(amount * 10**16).to_bytes(9, "big"))
    assert wrong != first.value()
    wrong = wrong.replace(b"-1-COMPLETED", b"-4-COMPLETED")
    put_by_hand(pipeline, transfer((first.key() or b"").decode(), "COMPLETED", 4), first, wrong)
    done = deep_ledger(pipeline, root)
    assert done.returncode == 1
    altered = next(line for line in done.stdout.splitlines() if line.startswith("altered"))
    assert pipeline.settings.topic(f"event.transfer[{first.partition()}]@") in altered


def put_by_hand(pipeline: Pipeline, raw: bytes, like: KafkaRecord, typed: bytes) -> None:
    """Write a raw record and a typed one that names it, past the stopped router, and commit as if it was routed."""
    source = pipeline.produce("raw", raw, like.key())
    headers: list[tuple[str, str | bytes | None]] = [("raw_offset", str(source.offset()))]
    pipeline.produce(
        "event.transfer", typed, like.key(), like.partition(), headers=headers, timestamp=source.timestamp()[1]
    )
    raws = topic_partitions(pipeline.settings, pipeline.settings.topic("raw"))
    ends = [confluent_kafka.TopicPartition(*tp, end) for tp, end in end_offsets(pipeline.settings, raws).items()]
    consumer = Consumer(consumer_config(pipeline.settings, group_id=pipeline.settings.group("router")))
    consumer.commit(offsets=ends, asynchronous=False)
    consumer.close()
