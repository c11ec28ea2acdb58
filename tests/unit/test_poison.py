"""No event can block a projector: each one that the router types becomes records that Kafka accepts, or a rejection."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer
from rules_events import CATALOG, MAX_SKEW_US
from test_fold_limits import CODECS, TYPED, WRITER, Typed

from broker_events.ingest.raw_record import to_raw
from broker_events.ingest.sources.source import Received
from broker_events.native import extension
from broker_events.processors.fold import fold
from broker_events.processors.routing import Routing
from broker_events.runtime.consume.record import KafkaRecord
from broker_events.runtime.events.duplicate_window import duplicate_window
from broker_events.runtime.kafka.clients import Headers
from broker_events.runtime.kafka.topics import DERIVED_SIZE_FACTOR, derived_size_limit, typed_size_limit
from broker_events.runtime.process.health import Health
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.quarantine.writer import QUARANTINE, Quarantine
from broker_events.runtime.settings import Settings
from broker_events.runtime.state.partition_state import PartitionState
from broker_events.schemas.codec import Codec
from broker_events.schemas.invalid_event import InvalidEvent
from broker_events.schemas.schema_rules import MAX_ID_BYTES

BUGS = {"internal_error", "undecodable"}


class Kafka:
    """A producer that says what librdkafka would say to records of such sizes."""

    def __init__(self, largest: int) -> None:
        self._producer = Producer({"bootstrap.servers": "127.0.0.1:1", "message.max.bytes": largest, "log_level": 0})

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | str | None,
        partition: int = 0,
        headers: Headers | None = None,
        timestamp: int = 0,
    ) -> None:
        self._producer.produce(topic, value, key, partition, None, None, timestamp, headers)
        self._producer.purge()


class Pipeline:
    """Bridge, router and projector of one partition; a record may have `largest` bytes."""

    def __init__(self, limit: int, typed_limit: int, largest: int) -> None:
        self._limit = limit
        self._kafka = Kafka(largest)
        self._routing = Routing(CATALOG.events, dict.fromkeys(CATALOG.topics, 1), str, typed_limit)
        self._window = duplicate_window(100)
        self.tables = {name: {0: PartitionState[Any](CODECS[name])} for name in ("state.accounts", "state.movements")}
        self._quarantine = Quarantine(
            Settings(), "projector", Codec(CATALOG.topics[QUARANTINE][0], 1), Metrics(), Health(10), {}
        )

    def put(self, event: dict[str, Any], *, ascii_only: bool = False) -> str:
        """Where an event ends: router, projector (both with the reason) or alerts (with their number)."""
        raw = to_raw(Received(json.dumps(event, ensure_ascii=ascii_only).encode(), 1_700_000_000_000_000), "grpc")
        key = None if raw.key is None else raw.key.encode()
        try:
            route, value, _ = self._routing.type(raw.value, key, self._window)
        except InvalidEvent as problem:
            assert problem.reason not in BUGS, problem  # noqa: PT017  (it need not be raised)
            return f"router: {problem.reason} {problem.pointer}"
        assert route is not None
        assert value is not None
        return self.project(Typed(route.topic, value, key or b""))

    def project(self, record: Typed) -> str:
        typed: KafkaRecord = record  # type: ignore[assignment]
        try:
            folded = fold(TYPED[record.topic()], typed, self.tables, WRITER, self._limit, MAX_SKEW_US)
        except InvalidEvent as problem:
            assert problem.reason not in BUGS, problem  # noqa: PT017
            self._quarantine.put(self._kafka, typed, problem)  # type: ignore[arg-type]
            return f"projector: {problem.reason}"
        for alert in folded.alerts:
            self._kafka.produce("alerts", alert.value, record.key(), headers=alert.headers)
            self._kafka.produce("alerts.active", alert.value, alert.alert["dedup_key"], headers=alert.headers)
        return f"alerts: {len(folded.alerts)}"

    def flush(self) -> None:
        for table in self.tables.values():
            for key, headers in table[0].settle().items():
                self._kafka.produce("state", table[0].values[key], key, headers=headers)


def ordinary() -> Pipeline:
    settings = Settings()
    return Pipeline(
        derived_size_limit(settings), typed_size_limit(settings), settings.max_message_bytes * DERIVED_SIZE_FACTOR
    )


def small(limit: int) -> Pipeline:
    """With the room that the settings leave, at sizes that are quick to reach."""
    settings = Settings()
    largest = limit + settings.max_message_bytes * DERIVED_SIZE_FACTOR - derived_size_limit(settings)
    return Pipeline(limit, limit - derived_size_limit(settings) + typed_size_limit(settings), largest)


def event(biz_type: str, **payload: Any) -> dict[str, Any]:
    folder = CATALOG.events[biz_type].folder / "samples/accept"
    path = next(path for path in sorted(folder.glob("documented-*.json")) if "record" not in path.name)
    made: dict[str, Any] = json.loads(path.read_bytes())
    return {**made, "payload": {**made["payload"], **payload}}


@pytest.fixture(params=["native", "plain"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "plain":
        monkeypatch.setattr(extension, "native", None)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize(
    ("biz_type", "payload", "pointer"),
    [
        ("ACCOUNT_UPDATE", {"restrictions": ["US", "M" * 8_300_000 + "_LIQUIDATE_ONLY"]}, "/payload/restrictions/1"),
        ("TRANSFER", {"status": "RETURNED", "client_request_id": "R" * 7_900_000}, "/payload/client_request_id"),
        ("TRANSFER", {"account_id": "é" * (MAX_ID_BYTES // 2) + "e"}, "/payload/account_id"),
        ("ACCOUNT_INFO_UPDATE", {"account_id": None, "account_number": "1" * 4097}, "/payload/account_number"),
        ("VIRTUAL_ACCOUNT_BCAN_UPDATE", {"type": "x" * 4097}, "/payload/type"),
    ],
)
def test_a_huge_id_or_code_is_too_large_for_the_router(biz_type: str, payload: dict[str, Any], pointer: str) -> None:
    assert ordinary().put(event(biz_type, **payload)) == f"router: too_large {pointer}"


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("member", ["id", "position"])
def test_a_huge_id_of_the_envelope_is_too_large(member: str) -> None:
    assert ordinary().put(event("TRANSFER") | {member: "x" * 4097}) == f"router: too_large /{member}"
    assert ordinary().put(event("TRANSFER") | {member: "x" * 4096}) == "alerts: 0"


@pytest.mark.usefixtures("_way")
def test_the_bridge_builds_no_huge_key() -> None:
    def key(account: str) -> str | None:
        payload = json.dumps(event("TRANSFER", account_id=account), ensure_ascii=False).encode()
        return to_raw(Received(payload, 0), "grpc").key

    assert key("é" * 2048) == "é" * 2048
    assert key("é" * 2048 + "e") is None
    assert key("x" * 4_000_000) is None


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize(("key", "reason"), [(b"\xff", "no_account"), (b"x" * 4097, "too_large")])
def test_a_key_that_is_no_account_key_is_refused(key: bytes, reason: str) -> None:
    routing = Routing(CATALOG.events, dict.fromkeys(CATALOG.topics, 1), str, 100_000)
    with pytest.raises(InvalidEvent, match=reason):
        routing.type(json.dumps(event("TRANSFER")).encode(), key, duplicate_window(1))


def test_free_text_is_bounded_by_the_record_alone_and_in_an_alert_once() -> None:
    reason = "x" * 8_000_000
    assert ordinary().put(event("TRANSFER", status="RETURNED", reason=reason)) == "alerts: 1"


def test_a_state_that_holds_a_huge_code_already() -> None:
    """An earlier version took it: the next snapshot is alerted, or refused as too large."""
    for length, outcome in ((4_000_000, "alerts: 1"), (8_000_000, "projector: too_large")):
        pipeline = ordinary()
        first = event("ACCOUNT_UPDATE", restrictions=["US_STOCK_LIQUIDATE_ONLY"])
        assert pipeline.put(first) == "alerts: 1"
        ((key, value),) = pipeline.tables["state.accounts"][0].values.items()
        taken = CODECS["state.accounts"].decode(value)
        held = taken["restrictions"]["liquidate_only"].pop("US")
        code = "M" * length
        taken["restrictions"]["liquidate_only"][code] = held | {"code": code + "_LIQUIDATE_ONLY"}
        pipeline.tables["state.accounts"][0].values[key] = CODECS["state.accounts"].encode(taken)
        second = event("ACCOUNT_UPDATE", restrictions=[]) | {"id": "2", "timestamp": "2099-01-01T00:00:00Z"}
        assert pipeline.put(second) == outcome
        pipeline.flush()


TIMES = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.5+23:59"]
STATUSES = ["COMPLETED", "RETURNED", "REJECTED", "returned"]


class Hostile:
    """Seeded events that are parseable and otherwise as bad as can be."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 (repeatable)

    def events(self, count: int) -> Iterator[dict[str, Any]]:
        for number in range(count):
            made = event(self._random.choice(list(CATALOG.events)))
            made["id"] = f"{number}-{self._text()}"
            if self._chance(0.5):
                made["timestamp"] = self._random.choice(TIMES)
            if self._chance(0.2):
                made["traceparent"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            self._spoil(made["payload"])
            yield made

    def _spoil(self, payload: dict[str, Any]) -> None:
        for name, value in payload.items():
            if isinstance(value, str) and name != "biz_type" and self._chance(0.1):
                payload[name] = self._random.choice(TIMES) if "time" in name else self._text()
        payload["account_id"] = self._random.choice(["A", "B", "A" * 4096, "\0", "", "😀" * 1024])
        if "status" in payload and self._chance(0.8):
            payload["status"] = self._random.choice(STATUSES)
        if "restrictions" in payload:
            payload["restrictions"] = [self._code() for _ in range(self._length(400))]
        if "restrict_infos" in payload and self._chance(0.5):
            info = {"restriction_code": self._text(), "reason": self._text() * 9, "a/b~": self._text()}
            payload["restrict_infos"] = [info] * self._length(20)
        if self._chance(0.3):
            payload[self._text()] = self._text() * self._length(9)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _length(self, most: int) -> int:
        """Small ones more often."""
        return int(math.exp(self._random.random() * math.log(most + 1))) - 1

    def _text(self) -> str:
        character = self._random.choice(["x", "/", "~", "\0", '"', "\\", "é", "\ufeff", "\u2028", "😀", "\U0010ffff"])
        return character * self._random.choice([0, 1, 1, 2, 3, 3, 40, 40, 500, 1024, 1024, 2048, 4097])

    def _code(self) -> str:
        market = self._random.choice(["HK", "US", "", self._text()[:900], *(str(self._random.random()),) * 2])
        return market + self._random.choice(["_STOCK_LIQUIDATE_ONLY", "LIQUIDATE_ONLY", "_STOCK_NO_TRADE"])


@pytest.mark.parametrize("seed", range(4))
def test_no_event_that_the_router_lets_through_stops_a_projector(seed: int) -> None:
    """Limits small enough to be met; states are written after each event, or after a few."""
    pipeline = small((30_000, 60_000, 200_000)[seed % 3])
    ends = set[str]()
    for number, made in enumerate(Hostile(seed).events(150)):
        ends.add(" ".join(pipeline.put(made, ascii_only=seed % 2 == 0).split()[:2]))
        if number % (seed + 1) == 0:
            pipeline.flush()
    pipeline.flush()
    assert {"router: too_large", "projector: too_large", "alerts: 0", "alerts: 1"} <= ends
