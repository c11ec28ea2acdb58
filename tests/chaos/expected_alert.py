"""A typed record as the oracle reads it, and an alert about it: all meaning is from the contracts' docs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Self
from unicodedata import normalize
from uuid import UUID, uuid5

from evidence import Stored
from expected_events import CONTRACTS, nanoseconds

NAMESPACE = UUID("6261f28f-fc6c-59a7-817f-efdca5dc1481")  # from the contract of Alert
SKEW = timedelta(seconds=60)
YEAR_1 = datetime(1, 1, 1, tzinfo=UTC)
SYSTEM_IDS = ("transfer_id", "fee_id", "instant_funding_id", "credit_id", "instant_exchange_id", "fx_id")
CRITICAL = ("LIQUIDATE_ONLY", "NO_TRADE")


class Typed(NamedTuple):
    """A decoded typed record."""

    key: str
    partition: int
    offset: int
    received: datetime
    record: dict[str, Any]

    @classmethod
    def of(cls, stored: Stored) -> Self:
        return cls(str(stored.key), stored.partition, stored.offset, stored.time, stored.record)

    @property
    def time(self) -> tuple[datetime, int]:
        """By the broker's clock, to the nanosecond."""
        return self.record["event_time"], nanoseconds(self.record["event_time_text"])

    @property
    def clock(self) -> str:
        """What the receipt says of the broker's clock: true, fast or wrong."""
        ahead = self.record["event_time"] - self.received
        if ahead < timedelta(milliseconds=1):
            return "true"
        return "fast" if ahead - timedelta(microseconds=999) <= SKEW else "wrong"


def alert_of(rule: str, stored: Typed, subject: str) -> dict[str, Any]:
    """An alert as it FIRES, all but its summary, which is for people."""
    event = stored.record
    dedup_key = "/".join(part.replace("%", "%25").replace("/", "%2F") for part in (rule, stored.key, subject))
    return {
        "alert_id": str(uuid5(NAMESPACE, f"{dedup_key}/{event['event_id']}")),
        "rule": rule,
        "rule_version": 1,
        "status": "FIRING",
        "severity": "critical" if rule in CRITICAL else "warning",
        "dedup_key": dedup_key,
        "account_key": stored.key,
        "account_id": event["account_id"],
        "account_number": None,
        "subject": subject,
        "first_sight": False,
        "event_id": event["event_id"],
        "event_type": event["event_type"],
        "biz_type": event["biz_type"],
        "event_time": event["event_time"],
        "event_time_text": event["event_time_text"],
        "source_topic": f"event.{CONTRACTS[event['biz_type']].topic}",
        "source_partition": stored.partition,
        "source_offset": stored.offset,
        "restriction": None,
        "transfer": None,
        "condition": None,
        "movement": None,
    }


def elapsed_us(stored: Typed, since: datetime, since_received: datetime | None) -> int | None:
    """Microseconds since an event that was received then; None where one of the two times is wrong."""
    if stored.clock == "wrong" or (since_received and since - since_received > SKEW + timedelta(microseconds=999)):
        return None
    elapsed: timedelta = stored.record["event_time"] - since
    return elapsed // timedelta(microseconds=1)


def word(status: str) -> str:
    """The letters and digits of a status or code, in capitals of common width."""
    return "".join(char for char in normalize("NFKC", status).upper() if char.isalnum())


def request_id(event: dict[str, Any]) -> str:
    ids = [event["client_request_id"], *(event.get(name) for name in SYSTEM_IDS), event["event_id"]]
    return str(next(filter(None, ids)))
