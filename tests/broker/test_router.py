"""The router as a process: what it writes, what it remembers, and how it shares and ends its work."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from pathlib import Path
from uuid import uuid4

import orjson
import pytest
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, Worker, credit, eventually, headers_of

from broker_events.runtime.consume.record import KafkaRecord
from broker_events.runtime.events.account_key import account_key
from broker_events.runtime.events.record_json import json_line
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.models import Credit, QuarantinedEvent

CATALOG = load_catalog()
SAMPLES = [
    (contract, path)
    for contract in CATALOG.events.values()
    for path in sorted(contract.folder.glob("samples/accept/*.json"))
    if not path.name.endswith(".record.json")
]


@pytest.fixture(scope="module")
def pipeline(cluster: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return Pipeline(cluster, f"test-{uuid4().hex[:12]}", tmp_path_factory.mktemp("router"), partitions=3).made()


@pytest.fixture
def account() -> str:
    """Return an account that no other test has."""
    return f"ACC-{uuid4().hex[:8]}"


def credits_of(pipeline: Pipeline, *accounts: str) -> list[Credit]:
    """Typed events of these accounts, in order for each."""
    events = (pipeline.decode(record) for record in pipeline.read("event.credit") if key_of(record) in accounts)
    return [event for event in events if isinstance(event, Credit)]


def key_of(record: KafkaRecord) -> str:
    return (record.key() or b"").decode()


def send(pipeline: Pipeline, account: str, *values: bytes) -> None:
    for value in values:
        pipeline.produce("raw", value, account)


def wait_for_event(pipeline: Pipeline, account: str, event_id: str) -> None:
    eventually(
        lambda: event_id in {event.event_id for event in credits_of(pipeline, account)}, lambda: f"{event_id} typed"
    )


@pytest.fixture(scope="module")
def sampled(pipeline: Pipeline) -> dict[str, tuple[KafkaRecord, KafkaRecord]]:
    """Raw record and typed record of every sample, by event id."""
    raw: dict[str, KafkaRecord] = {}
    typed: dict[str, tuple[KafkaRecord, KafkaRecord]] = {}
    with pipeline.worker("router") as router:
        for _, path in SAMPLES:
            event = orjson.loads(path.read_bytes())
            key = account_key(event["payload"])
            raw[event["id"]] = pipeline.produce("raw", path.read_bytes(), key, timestamp=recent_ms())
        places = {(record.partition(), record.offset()): event_id for event_id, record in raw.items()}

        def all_there() -> bool:
            for contract in CATALOG.events.values():
                for record in pipeline.read(contract.topics[0].name):
                    event_id = places.get((record.partition(), int(headers_of(record)["raw_offset"])))
                    if event_id is not None:
                        typed[event_id] = (raw[event_id], record)
            return len(typed) == len(raw)

        eventually(all_there, lambda: f"{len(raw)} typed records, got {len(typed)}")
        assert router.stop() == 0
    return typed


def recent_ms() -> int:
    return int((time.time() - 3600) * 1000)


@pytest.mark.parametrize(("contract", "path"), SAMPLES, ids=lambda x: x.stem if isinstance(x, Path) else x.name)
def test_a_sample_becomes_its_record(
    contract: object, path: Path, pipeline: Pipeline, sampled: dict[str, tuple[KafkaRecord, KafkaRecord]]
) -> None:
    expected = json.loads(path.with_suffix(".record.json").read_text(encoding="utf-8"))
    raw, typed = sampled[expected["event_id"]]
    assert json.loads(json_line(pipeline.decode(typed).model_dump())) == expected
    assert typed.topic() == pipeline.settings.topic(f"event.{path.parents[2].name}"), contract
    assert typed.key() == raw.key()
    assert typed.partition() == raw.partition()
    assert typed.timestamp()[1] == raw.timestamp()[1]
    assert headers_of(typed) == {"raw_offset": str(raw.offset())}


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_a_restarted_router_knows_what_came_before(pipeline: Pipeline, account: str, end: str) -> None:
    first = credit(f"{account}-1", account)
    with pipeline.worker("router") as router:
        send(pipeline, account, first)
        wait_for_event(pipeline, account, f"{account}-1")
        if end == "stopped":
            assert router.stop() == 0
        else:
            router.kill()
    with pipeline.worker("router") as router:
        other = credit(f"{account}-1", account, amount="2")
        send(pipeline, account, first, other, credit(f"{account}-2", account))
        wait_for_event(pipeline, account, f"{account}-2")
        assert router.metric("duplicates_total", biz_type="CREDIT") == 1
        assert router.metric("quarantined_total", stage="router", reason="id_conflict") == 1
    assert [event.event_id for event in credits_of(pipeline, account)] == [f"{account}-1", f"{account}-2"]
    conflicts = [event for event in pipeline.decoded("quarantine") if isinstance(event, QuarantinedEvent)]
    assert [event.value for event in conflicts if event.event_id == f"{account}-1"] == [other]


def test_sigterm_under_load_ends_it_in_order(pipeline: Pipeline, account: str) -> None:
    count = 3000
    with pipeline.worker("router") as router:
        router.wait_ready()
        pipeline.produce_all("raw", [(account, credit(f"{account}-{number}", account)) for number in range(count)])
        eventually(lambda: len(credits_of(pipeline, account)) > 0)
        started = time.monotonic()
        assert router.stop() == 0
        assert time.monotonic() - started < 10
    with pipeline.worker("router"):
        wait_for_event(pipeline, account, f"{account}-{count - 1}")
    assert [event.event_id for event in credits_of(pipeline, account)] == [f"{account}-{n}" for n in range(count)]


def assigned(*routers: Worker) -> list[float]:
    return [router.metric("assigned_partitions") for router in routers]


def test_two_routers_share_the_partitions(pipeline: Pipeline, account: str) -> None:
    accounts = [f"{account}-{number}" for number in range(20)]

    def events(part: str) -> list[tuple[str, bytes]]:
        return [(a, credit(f"{a}-{part}-{number}", a)) for number in range(20) for a in accounts]

    with pipeline.worker("router", "a") as one:
        one.wait_ready()
        pipeline.produce_all("raw", events("alone"))
        with pipeline.worker("router", "b") as two:
            two.wait_ready()
            eventually(lambda: sorted(assigned(one, two)) == [1, 2], lambda: f"1 and 2, got {assigned(one, two)}")
            pipeline.produce_all("raw", events("both"))
            eventually(
                lambda: min(router.metric("routed_total", biz_type="CREDIT") for router in (one, two)) > 0,
                lambda: "both to route",
            )
            assert one.stop() == 0
            eventually(lambda: assigned(two) == [3])
            pipeline.produce_all("raw", events("other"))
            for a in accounts:
                wait_for_event(pipeline, a, f"{a}-other-19")
            assert two.stop() == 0
    found = defaultdict(list)
    for event in credits_of(pipeline, *accounts):
        found[event.account_id].append(event.event_id)
    expected = [(part, number) for part in ("alone", "both", "other") for number in range(20)]
    assert found == {a: [f"{a}-{part}-{number}" for part, number in expected] for a in accounts}


def test_a_new_router_of_the_same_name_fences_the_old_one(pipeline: Pipeline, account: str) -> None:
    with pipeline.worker("router") as old:
        old.wait_ready()
        send(pipeline, account, credit(f"{account}-1", account))
        wait_for_event(pipeline, account, f"{account}-1")
        with pipeline.worker("router") as new:
            new.wait_ready()
            accounts = [f"{account}-{number}" for number in range(20)]  # in every partition
            pipeline.produce_all("raw", [(a, credit(f"{a}-1", a)) for a in accounts])
            assert old.wait() == 4
            assert "another process has taken over the" in old.log  # transactional id, or instance id
            assert "Two routers have the instance id router-a" in old.log
            for a in accounts:
                wait_for_event(pipeline, a, f"{a}-1")
            assert new.stop() == 0
    assert len(credits_of(pipeline, *accounts)) == len(accounts)
