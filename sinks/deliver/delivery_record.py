"""The record of what became of one alert at one receiver: Avro `Delivery` in alerts.deliveries. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

from broker_events.schemas.storage_types import Delivery

Outcome = Literal["DELIVERED", "GIVEN_UP", "SKIPPED"]


class AlertPlace(NamedTuple):
    """An alert and where it is in the topic alerts; id, rule and status are None if it could not be decoded."""

    partition: int
    offset: int
    alert_id: str | None
    rule: str | None
    status: str | None

    @property
    def name(self) -> str:
        """The alert's id, or its place where it has none."""
        return self.alert_id or f"{self.partition}@{self.offset}"


class Attempts(NamedTuple):
    """The requests so far: their number, times in microseconds since the epoch, and the last answer."""

    number: int = 0
    first_us: int | None = None
    last_us: int | None = None
    status: int | None = None
    answer: str | None = None


def delivery_key(receiver: str, place: AlertPlace) -> str:
    return f"{receiver}/{place.name}"


def delivery(
    receiver: str,
    place: AlertPlace,
    outcome: Outcome,
    detail: str | None = None,
    attempts: Attempts = Attempts(),  # noqa: B008 (immutable)
    retried_by: str | None = None,
) -> Delivery:
    """Return the record of a final outcome."""
    return {
        "receiver": receiver,
        "alert_id": place.name,
        "outcome": outcome,
        "detail": detail,
        "attempts": attempts.number,
        "first_attempt_at": attempts.first_us,
        "last_attempt_at": attempts.last_us,
        "last_status": attempts.status,
        "last_answer": None if outcome == "DELIVERED" else attempts.answer,
        "rule": place.rule,
        "alert_status": place.status,
        "alert_partition": place.partition,
        "alert_offset": place.offset,
        "retried_by": retried_by,
    }
