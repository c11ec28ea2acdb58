"""Size limits of states and alerts: a record larger than Kafka accepts would block the projector."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from rules_events import ACCOUNT, CATALOG, MAX_SKEW_US, account_update, event

from broker_events.processors.alert_record import AlertWriter
from broker_events.processors.fold import fold, typed_topics
from broker_events.runtime.consume.record import KafkaRecord
from broker_events.runtime.state.partition_state import PartitionState
from broker_events.schemas.codec import Codec
from broker_events.schemas.invalid_event import InvalidEvent, Reason

LIMIT = 4_000_000
CODECS: dict[str, Codec[Any]] = {
    name: Codec(contract, 1) for name, (contract, _) in CATALOG.topics.items() if contract.schema
}
TYPED = typed_topics(CATALOG, str, CODECS.__getitem__)
"""The typed topics by their names."""
WRITER = AlertWriter(CODECS["alerts"], "/broker/projector")


class Typed:
    """A typed record."""

    def __init__(self, topic: str, value: bytes, key: bytes = ACCOUNT.encode()) -> None:
        self._topic, self._value, self._key = topic, value, key

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 0

    def key(self) -> bytes:
        return self._key

    def value(self) -> bytes:
        return self._value

    def headers(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 1, 2_000_000_000_000


class Tables:
    def __init__(self) -> None:
        self.tables = {name: {0: PartitionState[Any](CODECS[name])} for name in ("state.accounts", "state.movements")}

    def fold(self, biz_type: str, made: dict[str, Any]) -> int:
        """Fold an event; return how many alerts it has."""
        topic = CATALOG.events[biz_type].topics[0].name
        record: KafkaRecord = Typed(topic, CODECS[topic].encode(made))  # type: ignore[assignment]
        return len(fold(TYPED[topic], record, self.tables, WRITER, LIMIT, MAX_SKEW_US).alerts)

    def sizes(self) -> list[int]:
        for table in self.tables.values():
            table[0].settle()
        return [len(value) for table in self.tables.values() for value in table[0].values.values()]


def status(length: int, ns: int) -> dict[str, Any]:
    return event("TRANSFER", "documented", ns=ns, status=f"{ns:x}".rjust(length, "x"))


def fold_until_refused(tables: Tables, biz_type: str, events: Iterable[dict[str, Any]]) -> InvalidEvent:
    for made in events:
        try:
            tables.fold(biz_type, made)
        except InvalidEvent as problem:
            return problem
    raise AssertionError("all were taken")


def test_a_state_that_no_topic_would_take() -> None:
    tables = Tables()
    problem = fold_until_refused(tables, "TRANSFER", (status(900_000, ns) for ns in range(9)))
    assert problem.reason is Reason.TOO_LARGE
    assert "as a state, the limit is 4000000" in problem.detail
    tables.fold("TRANSFER", status(9, 11))
    assert 2_500_000 < max(tables.sizes()) <= LIMIT


def test_a_state_that_grows_by_little() -> None:
    tables = Tables()
    kinds = (event("VIRTUAL_ACCOUNT_BCAN_UPDATE", "", ns=ns, type=f"{ns:>15000}") for ns in range(1000))
    problem = fold_until_refused(tables, "VIRTUAL_ACCOUNT_BCAN_UPDATE", kinds)
    assert problem.reason is Reason.TOO_LARGE
    assert 3_900_000 < max(tables.sizes()) <= LIMIT


def test_alerts_that_quote_a_large_state() -> None:
    tables = Tables()
    ordinary = [f"HK_STOCK_NO_{'X' * 100}{number}" for number in range(9000)]
    assert tables.fold("ACCOUNT_UPDATE", account_update(ordinary, ns=0)) == 0
    codes = [f"M{number}_STOCK_LIQUIDATE_ONLY" for number in range(10)]
    with pytest.raises(InvalidEvent, match=r"10 alerts: the first \d have \d+ bytes, at most 4000000 fit") as refused:
        tables.fold("ACCOUNT_UPDATE", account_update(codes, ns=1))
    assert refused.value.reason is Reason.TOO_LARGE
    assert tables.fold("ACCOUNT_UPDATE", account_update(codes[:1], ns=2)) == 1
