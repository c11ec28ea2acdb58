"""The oracle and the rules agree, whatever the clocks of broker and bridge say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from evidence import Decoder, Stored
from expected_alert import SKEW
from expected_rules import RULES
from expected_state import project
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_events.processors.alert_record import AlertWriter
from broker_events.processors.alert_rules.load import load_rules
from broker_events.processors.fold import fold, typed_topics
from broker_events.processors.routing import Routing
from broker_events.runtime.events.duplicate_window import duplicate_window
from broker_events.runtime.settings import load_settings
from broker_events.runtime.state.partition_state import PartitionState
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.codec import Codec

CATALOG = load_catalog()
CODECS: dict[str, Codec[Any]] = {
    name: Codec(contract, 1) for name, (contract, _) in CATALOG.topics.items() if contract.schema
}
TYPED = typed_topics(CATALOG, str, CODECS.__getitem__, load_rules(load_settings(rules=",".join(RULES)), CATALOG))
ROUTING = Routing(CATALOG.events, dict.fromkeys(CATALOG.topics, 1), str, 1_000_000)
WRITER = AlertWriter(CODECS["alerts"], "/test")
DECODER = Decoder()
LIMIT = 10_000_000
EPOCH, START = datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 3, 2, 10, tzinfo=UTC)

SAMPLES = {
    "ACCOUNT_UPDATE": "documented",
    "VIRTUAL_ACCOUNT_BCAN_UPDATE": "documented",
    "ACCOUNT_INFO_UPDATE": "documented",
    "ACCOUNT_CLOSE": "documented",
    "ACCOUNT_RESTRICT": "documented",
    "ACCOUNT_UNRESTRICTED": "documented",
    "TRANSFER": "documented",
}
COUNTS = st.integers(0, 4), st.sampled_from([0, 1, 2, 3, 4, 36])  # more than a history holds
CODES = ["HK_STOCK_LIQUIDATE_ONLY", "US_STOCK_LIQUIDATE_ONLY", "HK_STOCK_NO_TRADE", "US_STOCK_NO_TRADE"]
SECONDS = st.sampled_from([0, 0.000001, 1, 5, 59, 60, 61, 3600, 3660, 8 * 3600, 7000 * 365 * 86_400])
CHANGES: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "ACCOUNT_UPDATE": {
        "restrictions": st.lists(st.sampled_from(CODES), unique=True),
        "account_number": st.sampled_from(["1", "2"]),
    },
    "VIRTUAL_ACCOUNT_BCAN_UPDATE": {"status": st.sampled_from(["SUCCESS", "FAILED"])},
    "ACCOUNT_INFO_UPDATE": {"status": st.sampled_from(["APPROVED", "REJECTED", "rejected"])},
    "ACCOUNT_CLOSE": {"status": st.sampled_from(["APPROVED", "REJECTED"])},
    "TRANSFER": {
        "status": st.sampled_from(["PENDING", "COMPLETED", "RETURNED", "REJECTED"]),
        "amount": st.sampled_from(["1", "99999.999999999999999999", "100000"]),
    },
}


class Read(NamedTuple):
    """A typed record as the projector gets it."""

    stored: Stored

    def topic(self) -> str:
        return self.stored.topic

    def partition(self) -> int:
        return self.stored.partition

    def offset(self) -> int:
        return self.stored.offset

    def key(self) -> bytes:
        return str(self.stored.key).encode()

    def value(self) -> bytes:
        value: bytes = self.stored.value
        return value

    def headers(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 1, self.stored.timestamp


@st.composite
def typed_records(draw: st.DrawFn) -> list[Stored]:
    """Typed records of one account, topic after topic."""
    records = []
    for biz_type, name in SAMPLES.items():
        path = next(iter(sorted((CATALOG.events[biz_type].folder / "samples" / "accept").glob(f"{name}*.json"))))
        for offset in range(draw(COUNTS[biz_type == "TRANSFER"])):
            event = json.loads(path.read_text(encoding="utf-8"))
            event["id"] = f"{biz_type}-{offset}"
            time = START + timedelta(seconds=draw(SECONDS))
            event["timestamp"] = time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond:06}Z"
            event["payload"] |= draw(st.fixed_dictionaries(CHANGES.get(biz_type, {})))
            received = START + timedelta(seconds=draw(st.sampled_from([0, 1, 5, 60, 3600, 30 * 3600])))
            route, value, _ = ROUTING.type(json.dumps(event).encode(), b"ACC", duplicate_window(0))
            assert route
            topic, at_ms = route.topic, (received - EPOCH) // timedelta(milliseconds=1)
            records.append(Stored(topic, 0, offset, "ACC", value, {}, at_ms, DECODER))
    return records


def projected(records: Sequence[Stored]) -> tuple[dict[str, Any], list[Any]]:
    tables = {name: {0: PartitionState[Any](CODECS[name])} for name in ("state.accounts", "state.movements")}
    alerts: list[Any] = []
    for stored in records:
        read: Any = Read(stored)
        outcome = fold(TYPED[stored.topic], read, tables, WRITER, LIMIT, SKEW // timedelta(microseconds=1)).outcome
        alerts += [DECODER.decode("alerts", CODECS["alerts"].encode(alert)) for alert in outcome.alerts]
    states: dict[str, Any] = {}
    for name, table in tables.items():
        table[0].settle()
        states |= {key.decode(): DECODER.decode(name, value) for key, value in table[0].values.items()}
    for alert in alerts:
        del alert["summary"]
    return states, alerts


@settings(max_examples=100, deadline=None)
@given(typed_records())
def test_states_and_alerts_are_as_the_oracle_says(records: list[Stored]) -> None:
    states, alerts = projected(records)
    expected = project(records)
    assert states == expected.accounts | expected.movements

    def named(each: list[Any]) -> dict[str, Any]:
        return {alert["alert_id"]: alert for alert in each}

    assert named(alerts) == named(expected.alerts)
    assert len(alerts) == len(expected.alerts)
