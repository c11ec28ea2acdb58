"""Whatever comes in: every raw record ends as typed, quarantined or known duplicate, and the flow goes on.

One router gets all cases in one partition, each between two good events; then each case is looked up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from bad_input_cases import ACCEPTED, KEY, REFUSED, REPEATED, Accepted, Refused
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, Worker, credit, eventually, headers_of

from broker_events.runtime.consume.record import KafkaRecord
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.invalid_event import Reason
from broker_events.schemas.models import Credit, QuarantinedEvent
from broker_events.schemas.models import Record as Model

HEADERS: list[tuple[str, str | bytes | None]] = [
    ("source", b"test"),
    ("empty", None),
    ("twice", b"1"),
    ("twice", b"\xff"),
]
RECEIVED = datetime.now(UTC).replace(microsecond=123_000) - timedelta(hours=1)
RECEIVED_MS = round(RECEIVED.timestamp() * 1000)
TYPED = [topic for topic in load_catalog().topics if topic.startswith("event.")]


@dataclass(frozen=True)
class Run:
    """What became of all records, by the offset of the raw record; `offsets` by the case's name."""

    topic: str
    offsets: dict[str, int]
    typed: dict[int, tuple[KafkaRecord, Model]]
    quarantined: dict[int, tuple[KafkaRecord, QuarantinedEvent]]
    sent: int
    router: Worker


@pytest.fixture(scope="module")
def run(cluster: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("bad-input")
    pipeline = Pipeline(cluster, f"test-{folder.name}-{uuid4().hex[:8]}", folder, partitions=1).made()
    offsets: dict[str, int] = {}
    sent = 0

    def send(name: str, value: bytes | None, key: bytes | None = KEY) -> None:
        nonlocal sent
        offsets[name] = pipeline.produce("raw", value, key, 0, HEADERS, RECEIVED_MS).offset()
        sent += 1

    # Two of the events have a million members: reading them takes seconds.
    with pipeline.worker("router", transaction_timeout_ms=60_000) as router:
        for case in (*REFUSED, *ACCEPTED):
            send(f"before {case.name}", credit(f"before {case.name}"))
            send(case.name, case.value, case.key if isinstance(case, Refused) else KEY)
        for name, value in REPEATED.items():
            send(name, value)
        send("last", credit("last"))
        eventually(
            lambda: (
                not router.is_running
                or "last" in {getattr(event, "event_id", "") for event in pipeline.decoded("event.credit")}
            ),
            lambda: f"the last good event:\n{router.log}",
        )
        assert router.is_running, router.log
        typed = typed_records(pipeline)
        decoded = [(record, pipeline.decode(record)) for record in pipeline.read("quarantine")]
        quarantined = {
            event.offset: (record, event) for record, event in decoded if isinstance(event, QuarantinedEvent)
        }
        assert len(quarantined) == len(decoded), "no raw record is quarantined twice"
        yield Run(pipeline.settings.topic("raw"), offsets, typed, quarantined, sent, router)
        assert router.stop() == 0


def typed_records(pipeline: Pipeline) -> dict[int, tuple[KafkaRecord, Model]]:
    records = [record for topic in TYPED for record in pipeline.read(topic)]
    typed = {int(headers_of(record)["raw_offset"]): (record, pipeline.decode(record)) for record in records}
    assert len(typed) == len(records), "no event is typed twice"
    return typed


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_refused(case: Refused, run: Run) -> None:
    offset = run.offsets[case.name]
    record, event = run.quarantined[offset]
    assert (event.reason, event.stage, event.pointer) == (case.reason, "router", case.pointer)
    assert (event.topic, event.partition, event.offset) == (run.topic, 0, offset)
    assert event.value == case.value
    assert event.key == record.key() == case.key
    assert [(header.name, header.value) for header in event.headers] == HEADERS
    assert event.timestamp == RECEIVED
    assert event.detail
    assert event.worker.startswith("router/")
    assert offset not in run.typed


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.name)
def test_accepted(case: Accepted, run: Run) -> None:
    offset = run.offsets[case.name]
    record, event = run.typed[offset]
    assert {name: getattr(event, name) for name in case.fields} == case.fields
    assert record.key() == KEY
    assert record.timestamp()[1] == RECEIVED_MS
    assert offset not in run.quarantined


@pytest.mark.parametrize("case", [*REFUSED, *ACCEPTED], ids=lambda case: case.name)
def test_the_flow_goes_on(case: Refused | Accepted, run: Run) -> None:
    name = f"before {case.name}"
    _, event = run.typed[run.offsets[name]]
    assert isinstance(event, Credit)
    assert (event.event_id, event.amount) == (name, Decimal("1.50"))


def test_a_repeated_event_is_written_once_and_counted(run: Run) -> None:
    assert run.offsets["first"] in run.typed
    for name in ("again", "again after the conflict"):
        assert run.offsets[name] not in run.typed.keys() | run.quarantined.keys()
    assert run.router.metric("duplicates_total", biz_type="CREDIT") == 2


def test_another_body_of_a_known_id_is_quarantined(run: Run) -> None:
    _, event = run.quarantined[run.offsets["other body"]]
    assert (event.reason, event.pointer, event.event_id) == (Reason.ID_CONFLICT, "/id", "repeated")
    assert event.value == REPEATED["other body"]
    assert run.offsets["other body"] not in run.typed


def test_every_record_ends_as_exactly_one_thing(run: Run) -> None:
    assert not run.typed.keys() & run.quarantined.keys()
    duplicates = int(run.router.metric("duplicates_total", biz_type="CREDIT"))
    assert len(run.typed) + len(run.quarantined) + duplicates == run.sent


def test_what_can_be_read_of_a_refused_event_is_said(run: Run) -> None:
    _, event = run.quarantined[run.offsets["unknown-biz-type"]]
    assert (event.event_id, event.event_type, event.biz_type) == ("biz", "FUNDING", "MERGER")
    _, event = run.quarantined[run.offsets["not-json"]]
    assert (event.event_id, event.event_type, event.biz_type) == (None, None, None)


def test_metrics_count_what_happened(run: Run) -> None:
    reasons = Counter(event.reason for _, event in run.quarantined.values())
    for reason, count in reasons.items():
        assert run.router.metric("quarantined_total", reason=reason, stage="router") == count
    assert run.router.metric("routed_total", biz_type="CREDIT") == len(run.typed)
    assert run.router.metric("duplicate_keys_total") == 2


def test_reasons_that_a_router_can_give_are_all_here() -> None:
    missing = set(Reason) - {case.reason for case in REFUSED} - {Reason.ID_CONFLICT}
    others = {Reason.UNDECODABLE, Reason.INTERNAL_ERROR, Reason.REFUSED}
    assert missing == others, "the projector's, that of a defect, and Kafka's (test_refused_outputs)"
