"""Tables put wrong by hand: a rebuild finds exactly that, repairs it, and keeps its hands off a projector's work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, credit, envelope, eventually, headers_of

from broker_events.runtime.consume.record import KafkaRecord
from broker_events.runtime.kafka.clients import admin_client
from broker_events.schemas.catalog import load_catalog

ACCOUNTS = [f"ACC-{number}" for number in range(8)]
TABLES = ("state.accounts", "state.movements", "alerts.active")


def snapshot(event_id: str, account: str, at: str, *codes: str) -> bytes:
    payload = {"account_id": account, "account_number": f"N{account}", "biz_type": "ACCOUNT_UPDATE"}
    return envelope(event_id, "ACCOUNT", payload | {"restrictions": codes}, at)


def events(account: str) -> Iterator[bytes]:
    """Restricted, read again late, lifted for half of the accounts; credits, one of them canceled and one refused."""
    yield snapshot(f"{account}-set", account, "2026-01-31T09:30:00Z", "HK_STOCK_LIQUIDATE_ONLY", "US_STOCK_NO_TRADE")
    yield snapshot(f"{account}-stale", account, "2026-01-31T09:00:00Z")
    if int(account[-1]) % 2:
        yield snapshot(f"{account}-lifted", account, "2026-01-31T09:31:00Z")
    for number in range(3):
        yield credit(f"{account}-{number}", account)
    yield credit(f"{account}-late", account, client_request_id=f"{account}-0", status="CANCELED")
    yield credit(f"{account}-bad", account, amount="x")


@pytest.fixture
def pipeline(cluster: KafkaCluster, topic_prefix: str, tmp_path: Any) -> Pipeline:
    """Return a pipeline that has processed these events and has come to rest."""
    pipeline = Pipeline(cluster, topic_prefix, tmp_path).made()
    pipeline.produce_all("raw", [(account, value) for account in ACCOUNTS for value in events(account)])
    with pipeline.worker("router") as router, pipeline.worker("projector") as projector:
        pipeline.wait_for("event.credit", 4 * len(ACCOUNTS))
        eventually(lambda: len(present(pipeline, "state.movements")) == 3 * len(ACCOUNTS))
        eventually(lambda: len(present(pipeline, "alerts.active")) == len(ACCOUNTS) // 2)
        assert router.stop() == projector.stop() == 0
    return pipeline


def present(pipeline: Pipeline, topic: str) -> dict[str, KafkaRecord]:
    """Last record of each key that is no tombstone."""
    last = {(record.key() or b"").decode(): record for record in pipeline.read(topic)}
    return {key: record for key, record in last.items() if record.value() is not None}


def rebuild(pipeline: Pipeline, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    done = pipeline.command("rebuild", "--json", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def total(documents: list[dict[str, Any]], name: str) -> int:
    return sum(document.get(name, 0) for document in documents)


def test_damage_is_found_exactly_and_repaired(pipeline: Pipeline) -> None:
    accounts, active = present(pipeline, "state.accounts"), present(pipeline, "alerts.active")
    movements = present(pipeline, "state.movements")
    found = rebuild(pipeline)
    assert total(found, "equal") == len(accounts) + len(movements) + len(active) == 36
    assert not [document for document in found if "verdict" in document]

    wrong, other = accounts["ACC-0"], accounts["ACC-1"]
    pipeline.produce("state.accounts", (other.value() or b"").replace(b"ACC-1", b"ACC-0"), "ACC-0", wrong.partition())
    gone_key, gone = next(iter(movements.items()))
    pipeline.produce("state.movements", None, gone_key, gone.partition())
    pipeline.produce("state.movements", gone.value(), "of-nobody", gone.partition())
    broken_key = list(movements)[-1]
    pipeline.produce("state.movements", b"broken", broken_key, movements[broken_key].partition())
    over_key, over = next(iter(active.items()))
    pipeline.produce("alerts.active", None, over_key, over.partition())
    found = [document for document in rebuild(pipeline, code=1) if "verdict" in document]
    assert {(document["table"], document["key"], document["verdict"]) for document in found} == {
        ("state.accounts", "ACC-0", "different"),
        ("state.movements", gone_key, "missing"),
        ("state.movements", "of-nobody", "extra"),
        ("state.movements", broken_key, "different"),
        ("alerts.active", over_key, "missing"),
    }
    [fields] = [document["fields"] for document in found if document["key"] == "ACC-0"]
    assert set(fields) == {"account_id", "account_number", "restrictions"}

    done = pipeline.command("rebuild", "--apply")
    assert (done.returncode, done.stdout.splitlines()[-3]) == (1, "4 records written"), done.stdout + done.stderr
    assert "no alert was written" in done.stdout
    assert done.stdout.splitlines()[-1] == "1 extra key left alone; see --delete-extra"
    [extra] = [document for document in rebuild(pipeline, code=1) if "verdict" in document]
    assert (extra["key"], extra["verdict"]) == ("of-nobody", "extra")

    done = pipeline.command("rebuild", "--apply", "--delete-extra")
    assert (done.returncode, done.stdout.splitlines()[-2]) == (0, "1 record written"), done.stdout + done.stderr
    assert not [document for document in rebuild(pipeline) if "verdict" in document]
    assert values(present(pipeline, "state.accounts")) == values(accounts)
    assert values(present(pipeline, "state.movements")) == values(movements)
    again = present(pipeline, "alerts.active")
    assert values(again) == values(active)
    assert headers_of(again[over_key]) == headers_of(over)


def values(records: dict[str, KafkaRecord]) -> dict[str, bytes | None]:
    return {key: record.value() for key, record in records.items()}


def test_it_writes_nothing_while_a_projector_is_at_work(pipeline: Pipeline) -> None:
    pipeline.produce("state.movements", None, next(iter(present(pipeline, "state.movements"))), 0)
    before = {name: len(pipeline.read(name)) for name in TABLES}
    with pipeline.worker("projector") as projector:
        projector.wait_ready()
        done = pipeline.command("rebuild", "--apply")
        assert (done.returncode, done.stdout) == (2, "")
        assert f"the group {pipeline.settings.group('projector')} has 1 members. Stop every projector" in done.stderr
        rebuild(pipeline, code=1 if rebuild_differs(pipeline) else 0)
        assert projector.stop() == 0
    assert {name: len(pipeline.read(name)) for name in TABLES} == before


def rebuild_differs(pipeline: Pipeline) -> bool:
    return pipeline.command("rebuild").returncode == 1


def test_a_group_that_has_lost_its_offsets_is_no_reason_to_delete_its_state(pipeline: Pipeline) -> None:
    before = {name: len(pipeline.read(name)) for name in TABLES}
    admin, group = admin_client(pipeline.settings), pipeline.settings.group("projector")
    admin.delete_consumer_groups([group])[group].result()
    for arguments in ((), ("--apply",), ("--apply", "--delete-extra")):
        done = pipeline.command("rebuild", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"the group {group} has no offset on any typed topic" in done.stderr

    # Set to the beginning and not caught up: everything is extra, and stays.
    typed = [pipeline.settings.topic(name) for name in load_catalog().topics if name.startswith("event.")]
    beginning = [confluent_kafka.TopicPartition(topic, number, 0) for topic in typed for number in range(2)]
    [altered] = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, beginning)]).values()
    altered.result()
    found = rebuild(pipeline, "--apply", code=1)
    assert total(found, "extra") == 36
    assert {name: len(pipeline.read(name)) for name in TABLES} == before


def test_what_rests_on_deleted_events_is_not_judged(pipeline: Pipeline) -> None:
    number = pipeline.read("event.credit")[0].partition()
    admin = admin_client(pipeline.settings)  # with a name: without one its futures never resolve
    cut = confluent_kafka.TopicPartition(pipeline.settings.topic("event.credit"), number, 4)
    for future in admin.delete_records([cut]).values():
        future.result()
    found = rebuild(pipeline)
    assert not [document for document in found if "verdict" in document]
    assert total(found, "unjudged") == 3  # the three credits of one account; the cancellation is of the first

    # What rests on events that are left is judged all the same.
    key, record = next(
        (key, record)
        for key, record in present(pipeline, "state.movements").items()
        if record.partition() == number and key.encode() in {b"/".join(parts) for parts in left(pipeline, number)}
    )
    pipeline.produce("state.movements", None, key, record.partition())
    [finding] = [document for document in rebuild(pipeline, code=1) if "verdict" in document]
    assert (finding["key"], finding["verdict"]) == (key, "missing")


def left(pipeline: Pipeline, partition: int) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Parts of the movement ids of the credits that are left."""
    for record in pipeline.read("event.credit"):
        if record.partition() == partition:
            event: Any = pipeline.decode(record)
            yield record.key() or b"", b"CREDIT", event.client_request_id.encode()
