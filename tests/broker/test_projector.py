"""The projector as a process: alerts, active alerts and state, fed by a real router."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar
from uuid import uuid4

import pytest
from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, Worker, credit, envelope, eventually, headers_of

from broker_events.processors.rules import PROJECTIONS
from broker_events.runtime.consume.record import KafkaRecord
from broker_events.runtime.kafka.clients import client_config
from broker_events.runtime.kafka.transaction import Transaction
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.models import AccountState, Alert, MovementState, QuarantinedEvent

PARTITIONS = 3
CATALOG = load_catalog()

M = TypeVar("M", AccountState, MovementState, Alert, QuarantinedEvent)


@pytest.fixture(scope="module")
def pipeline(cluster: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("projector")
    pipeline = Pipeline(cluster, f"test-{uuid4().hex[:12]}", folder, partitions=PARTITIONS).made()
    with pipeline.worker("router"):
        yield pipeline


@pytest.fixture
def account() -> str:
    """Return an account that no other test has."""
    return f"ACC-{uuid4().hex[:8]}"


def send(pipeline: Pipeline, account: str, value: bytes) -> KafkaRecord:
    return pipeline.produce("raw", value, account)


def snapshot(event_id: str, account: str, at: str, *codes: str) -> bytes:
    """Return an ACCOUNT_UPDATE with these restrictions."""
    payload = {"account_id": account, "account_number": f"N{account}", "biz_type": "ACCOUNT_UPDATE"}
    return envelope(event_id, "ACCOUNT", payload | {"restrictions": codes}, at)


def transfer(event_id: str, account: str, at: str, status: str, **ids: str) -> bytes:
    payload = ids | {
        "account_id": account,
        "transfer_type": "ACH",
        "amount": "1000.10",
        "currency": "USD",
        "direction": "DEPOSIT",
        "status": status,
        "biz_type": "TRANSFER",
    }
    return envelope(event_id, "FUNDING", payload, at)


def records_of(pipeline: Pipeline, topic: str, account: str) -> list[KafkaRecord]:
    """Records whose key names the account, in order."""
    return [record for record in pipeline.read(topic) if account.encode() in (record.key() or b"")]


def decoded(pipeline: Pipeline, topic: str, account: str, model: type[M]) -> list[M]:
    events = [pipeline.decode(record) for record in records_of(pipeline, topic, account) if record.value() is not None]
    return [event for event in events if isinstance(event, model)]


def wait_for_alerts(pipeline: Pipeline, account: str, count: int) -> list[Alert]:
    alerts: list[Alert] = []

    def enough() -> bool:
        alerts[:] = decoded(pipeline, "alerts", account, Alert)
        return len(alerts) >= count

    eventually(enough, lambda: f"{count} alerts on {account}, got {alerts}")
    return alerts


def wait_for_state(pipeline: Pipeline, topic: str, account: str, event_id: str) -> None:
    """Wait until an event has been folded into the account's state."""
    eventually(
        lambda: any(event_id.encode() in (record.value() or b"") for record in records_of(pipeline, topic, account)),
        lambda: f"{event_id} in {topic}",
    )


def test_a_restriction_that_is_set_and_lifted(pipeline: Pipeline, account: str) -> None:
    with pipeline.worker("projector") as projector:
        raw = send(pipeline, account, snapshot("set", account, "2026-01-31T09:30:00Z", "HK_STOCK_LIQUIDATE_ONLY"))
        wait_for_alerts(pipeline, account, 1)
        send(pipeline, account, snapshot("lifted", account, "2026-01-31T10:30:00Z"))
        fired, resolved = wait_for_alerts(pipeline, account, 2)
        assert projector.metric("alerts_total", rule="LIQUIDATE_ONLY", status="FIRING") == 1
        assert projector.metric("alerts_total", rule="LIQUIDATE_ONLY", status="RESOLVED") == 1
        assert projector.stop() == 0

    name = f"LIQUIDATE_ONLY/{account}/HK"
    assert (fired.rule, fired.status, fired.dedup_key, fired.event_id) == ("LIQUIDATE_ONLY", "FIRING", name, "set")
    assert (resolved.status, resolved.dedup_key, resolved.event_id) == ("RESOLVED", name, "lifted")
    assert fired.first_sight
    assert resolved.restriction is not None
    assert resolved.restriction.fired_alert_id == fired.alert_id
    assert resolved.restriction.duration_us == 3_600_000_000
    assert fired.source_topic == pipeline.settings.topic("event.account-update")
    assert fired.source_partition == raw.partition()

    alerts = records_of(pipeline, "alerts", account)
    assert [record.key() for record in alerts] == [account.encode()] * 2
    assert {record.partition() for record in alerts} == {raw.partition()}
    assert headers_of(alerts[0]) == {
        "ce_specversion": "1.0",
        "ce_id": fired.alert_id,
        "ce_source": f"/{pipeline.settings.topic_prefix}/projector",
        "ce_type": "broker.events.alert.liquidate_only.firing",
        "ce_subject": name,
        "ce_time": "2026-01-31T09:30:00.000000Z",
        "ce_partitionkey": account,
        "content-type": "application/avro",
    }
    assert headers_of(alerts[1])["ce_type"] == "broker.events.alert.liquidate_only.resolved"

    put, tombstone = records_of(pipeline, "alerts.active", account)
    assert put.key() == tombstone.key() == name.encode()
    assert put.value() == alerts[0].value()
    assert tombstone.value() is None
    assert put.partition() == tombstone.partition() == raw.partition()

    state = decoded(pipeline, "state.accounts", account, AccountState)[-1]
    assert state.restrictions is not None
    assert (state.account_key, state.restrictions.codes, state.restrictions.event_id) == (account, (), "lifted")
    assert state.restrictions.liquidate_only == {}
    assert state.account_number is not None
    assert state.account_number.value == f"N{account}"


def test_a_restarted_projector_fires_nothing_twice(pipeline: Pipeline, account: str) -> None:
    codes = ("US_STOCK_LIQUIDATE_ONLY", "US_STOCK_NO_TRADE")
    with pipeline.worker("projector") as projector:
        send(pipeline, account, snapshot("first", account, "2026-01-31T09:30:00Z", *codes))
        wait_for_alerts(pipeline, account, 1)
        assert projector.stop() == 0
    with pipeline.worker("projector") as projector:
        send(pipeline, account, snapshot("same", account, "2026-01-31T09:31:00Z", *codes))
        wait_for_state(pipeline, "state.accounts", account, "same")
        projector.kill()
    with pipeline.worker("projector"):
        send(pipeline, account, snapshot("lifted-later", account, "2026-01-31T09:32:00Z"))
        fired, resolved = wait_for_alerts(pipeline, account, 2)
    assert [(alert.status, alert.event_id) for alert in (fired, resolved)] == [
        ("FIRING", "first"),
        ("RESOLVED", "lifted-later"),
    ]
    assert resolved.restriction is not None
    assert resolved.restriction.fired_alert_id == fired.alert_id
    assert len(records_of(pipeline, "alerts", account)) == 2


def test_a_returned_transfer_names_the_completed_one(pipeline: Pipeline, account: str) -> None:
    """By either of its ids, also after a restart."""
    ids = {"client_request_id": "REQ-1", "transfer_id": "T-1"}
    with pipeline.worker("projector") as projector:
        send(pipeline, account, transfer("done", account, "2026-01-31T09:30:00.5Z", "COMPLETED", **ids))
        wait_for_state(pipeline, "state.movements", account, "done")
        assert projector.stop() == 0
    with pipeline.worker("projector"):
        send(pipeline, account, transfer("back", account, "2026-02-02T09:30:00Z", "RETURNED", transfer_id="T-1"))
        (alert,) = wait_for_alerts(pipeline, account, 1)
    assert (alert.rule, alert.status, alert.event_id) == ("TRANSFER_RETURNED", "FIRING", "back")
    evidence = alert.transfer
    assert evidence is not None
    assert (evidence.amount, evidence.currency, evidence.direction) == (Decimal("1000.10"), "USD", "DEPOSIT")
    assert evidence.completed_event_id == "done"
    assert evidence.completed_event_time == datetime(2026, 1, 31, 9, 30, 0, 500_000, UTC)
    assert evidence.elapsed_us == 2 * 86_400_000_000 - 500_000
    assert records_of(pipeline, "alerts.active", account) == [], "an occurrence doesn't last"
    movement = decoded(pipeline, "state.movements", account, MovementState)[-1]
    assert movement.movement_id == evidence.movement_id == f"{account}/TRANSFER/REQ-1"
    assert (movement.status, movement.returned_alert_id) == ("RETURNED", alert.alert_id)
    assert [event.status for event in movement.history] == ["COMPLETED", "RETURNED"]


def test_an_event_with_too_much_to_alert_about_is_quarantined(pipeline: Pipeline, account: str) -> None:
    """Each of its alerts quotes the whole snapshot: written out, that would fit into no transaction."""
    codes = [f"M{number}_STOCK_LIQUIDATE_ONLY" for number in range(6000)]
    with pipeline.worker("projector"):
        send(pipeline, account, snapshot(f"{account}-1", account, "2026-01-31T09:30:00Z", *codes))
        send(pipeline, account, snapshot(f"{account}-2", account, "2026-01-31T09:31:00Z", "HK_STOCK_LIQUIDATE_ONLY"))
        [alert] = wait_for_alerts(pipeline, account, 1)
    assert (alert.event_id, alert.subject) == (f"{account}-2", "HK")
    [quarantined] = decoded(pipeline, "quarantine", account, QuarantinedEvent)
    assert (quarantined.stage, quarantined.reason) == ("projector", "too_large")


def foreign_values(pipeline: Pipeline, account: str) -> dict[str, bytes | None]:
    """Values that a topic of CREDIT should never have."""
    send(pipeline, account, credit(f"{account}-credit", account))
    send(pipeline, account, transfer(f"{account}-transfer", account, "2026-01-31T09:30:00Z", "PENDING"))

    def typed(topic: str) -> bytes:
        eventually(lambda: bool(records_of(pipeline, topic, account)))
        return records_of(pipeline, topic, account)[0].value() or b""

    good = typed("event.credit")
    return {
        "text": b"hello",
        "empty": b"",
        "tombstone": None,
        "cut off": good[:-3],
        "longer": good + b"\x00",
        "unknown schema id": b"\x00\x7f\xff\xff\xff" + good[5:],
        "another record": typed("event.transfer"),
    }


def test_what_is_no_typed_event_can_be_skipped_and_the_flow_goes_on(pipeline: Pipeline, account: str) -> None:
    sent: dict[tuple[int, int], tuple[str, KafkaRecord]] = {}
    for name, value in foreign_values(pipeline, account).items():
        record = pipeline.produce("event.credit", value, account)
        sent[record.partition(), record.offset()] = name, record
    partition = next(iter(sent))[0]
    for name, key in (("no key", None), ("key is no text", b"\xff" + account.encode())):
        record = pipeline.produce("event.credit", b"hello", key, partition)
        sent[record.partition(), record.offset()] = name, record
    send(pipeline, account, credit(f"{account}-after", account))
    skip = ",".join(pipeline.place("event.credit", number, offset) for number, offset in sent)
    with pipeline.worker("projector", projector_skip=skip, projector_skip_reason="not ours") as projector:
        eventually(
            lambda: (
                not projector.is_running
                or any(
                    f"{account}-after".encode() in (record.value() or b"")
                    for record in records_of(pipeline, "state.movements", account)
                )
            ),
            lambda: f"the good event after them:\n{projector.log}",
        )
        assert projector.is_running, projector.log
    found = {}
    for quarantined in pipeline.read("quarantine"):
        event = pipeline.decode(quarantined)
        if isinstance(event, QuarantinedEvent) and event.topic == pipeline.settings.topic("event.credit"):
            name, record = sent[event.partition, event.offset]
            assert (event.stage, event.value, event.key) == ("projector", record.value(), record.key()), name
            assert headers_of(quarantined)["skip_reason"] == "not ours"
            found[name] = event.reason
    expected = dict.fromkeys((name for name, _ in sent.values()), "undecodable")
    assert found == expected | {"tombstone": "no_value", "no key": "no_value"}


def assignment(pipeline: Pipeline) -> dict[str, dict[str, set[int]]]:
    """Partition numbers by topic, by member of the projectors' group."""
    group = pipeline.settings.group("projector")
    admin = AdminClient(client_config(pipeline.settings))
    described = admin.describe_consumer_groups([group])[group].result()
    members: dict[str, dict[str, set[int]]] = {}
    for member in described.members:
        topics = members.setdefault(member.client_id, {})
        for tp in member.assignment.topic_partitions if member.assignment else ():
            topics.setdefault(tp.topic, set()).add(tp.partition)
    return members


def is_shared(members: dict[str, dict[str, set[int]]], count: int) -> bool:
    """Whether so many members have all partitions among them, and each has some."""
    numbers = [number for topics in members.values() for number in set.union(set(), *topics.values())]
    return len(members) == count and all(members.values()) and sorted(numbers) == list(range(PARTITIONS))


def check_alignment(pipeline: Pipeline, workers: int) -> None:
    """Wait for the group to settle; then each member must have the same partition numbers of all twelve topics."""
    members: dict[str, dict[str, set[int]]] = {}

    def settled() -> bool:
        members.clear()
        members.update(assignment(pipeline))
        return is_shared(members, workers)

    eventually(settled, lambda: f"{workers} members: {members}")
    topics = {pipeline.settings.topic(CATALOG.events[biz_type].topics[0].name) for biz_type in PROJECTIONS}
    assert len(topics) == 12
    for of_member in members.values():
        assert of_member.keys() == topics
        assert len({frozenset(numbers) for numbers in of_member.values()}) == 1


def ready(*projectors: Worker) -> None:
    for projector in projectors:
        projector.wait_ready()


def test_two_projectors_have_the_same_partitions_of_every_topic(pipeline: Pipeline, account: str) -> None:
    accounts = [f"{account}-{number}" for number in range(12)]  # in every partition

    def push(event_id: str, at: str, *codes: str) -> None:
        pipeline.produce_all("raw", [(a, snapshot(f"{event_id}-{a}", a, at, *codes)) for a in accounts])

    with pipeline.worker("projector", "a") as one:
        ready(one)
        push("set", "2026-01-31T09:30:00Z", "LIQUIDATE_ONLY")
        wait_for_alerts(pipeline, account, len(accounts))
        with pipeline.worker("projector", "b") as two:
            check_alignment(pipeline, 2)
            ready(one, two)
            push("same", "2026-01-31T09:31:00Z", "LIQUIDATE_ONLY")
            for a in accounts:
                wait_for_state(pipeline, "state.accounts", a, f"same-{a}")
            assert one.stop() == 0
            check_alignment(pipeline, 1)
            push("lifted", "2026-01-31T09:32:00Z")
            alerts = wait_for_alerts(pipeline, account, 2 * len(accounts))
            assert two.stop() == 0
    by_account = {a: [alert.status for alert in alerts if alert.account_key == a] for a in accounts}
    assert by_account == {a: ["FIRING", "RESOLVED"] for a in accounts}


def test_a_stop_while_restoring(pipeline: Pipeline, cluster: KafkaCluster, account: str) -> None:
    """A transaction that stays open holds the restore up; SIGTERM does not wait for it."""
    admin, group = AdminClient(cluster.clients()), pipeline.settings.group("projector")
    open_one = Transaction(pipeline.settings, f"{group}.somebody")
    open_one.init()
    open_one.begin()
    open_one.produce(pipeline.settings.topic("state.accounts"), b"", account)
    open_one.flush()
    with pipeline.worker("projector") as projector:
        eventually(lambda: members(admin, group) == 1)
        began = time.monotonic()
        assert projector.stop() == 0, projector.log
        assert time.monotonic() - began < 5
        assert "stopped while reading" in projector.log
    open_one.abort()


def members(admin: AdminClient, group: str) -> int:
    """Members of the group that have their partitions."""
    described = admin.describe_consumer_groups([group])[group].result()
    return len(described.members) if described.state == ConsumerGroupState.STABLE else 0
