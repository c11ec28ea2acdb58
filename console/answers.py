"""Answers of the API as pydantic models. The pages show the same objects, and OpenAPI is generated from them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, WithJsonSchema

from broker_events.schemas.models import RECORDS

_HIDDEN: Final = "Viewers get `…`, or `…` and the last 4 characters, for a personal value."


AccountDocument = Annotated[
    dict[str, Any],
    WithJsonSchema({"x-record": "AccountState", "description": _HIDDEN}),
]
MovementDocument = Annotated[
    dict[str, Any],
    WithJsonSchema({"x-record": "MovementState", "description": _HIDDEN}),
]
AlertDocument = Annotated[
    dict[str, Any],
    WithJsonSchema({"x-record": "Alert", "description": _HIDDEN}),
]
QuarantinedDocument = Annotated[
    dict[str, Any],
    WithJsonSchema({"x-record": "QuarantinedEvent", "description": _HIDDEN}),
]
DOCUMENTS: Final = tuple(
    RECORDS[name]
    for name in sorted(RECORDS)
    if name.rpartition(".")[2]
    in {
        "AccountState",
        "MovementState",
        "Alert",
        "QuarantinedEvent",
    }
)
"""Models of the records in answers."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Answer(_Model):
    """What every answer says about its age."""

    positions: dict[str, dict[str, int]]
    """Next offset by topic and partition: the answer contains every record before it."""

    behind_s: float | None
    """Age of the oldest record that is not in this answer yet, in seconds; null while that is unknown."""

    as_of: str | None
    """When Kafka last reported its end offsets, ISO 8601 in UTC; null before its first reply."""

    problem: str | None = None
    """Why the console does not read now; null if it does."""


class Account(_Model):
    account_key: str
    """Key of the account; masked for viewers."""

    ref: str
    """Name of the account in URLs of this console, `~` and 24 hex digits. It reveals nothing about the key."""

    simulated: bool
    updated: str | None
    """When the state was last written, ISO 8601; null if the account has no state."""

    state: AccountDocument | None


class Movement(_Model):
    ref: str
    """Name of the movement in URLs of this console."""

    account_ref: str
    simulated: bool
    movement: MovementDocument


class Delivery(_Model):
    """Delivery of an alert to one receiver."""

    receiver: str
    outcome: str
    """DELIVERED, GIVEN_UP or SKIPPED."""

    attempts: int
    detail: str | None
    last_status: int | None
    """HTTP status of the last answer."""

    last_answer: str | None
    at: str
    """When this was recorded, ISO 8601."""


class AlertItem(_Model):
    place: str
    """topic[partition]@offset of the record; empty for an alert from alerts.active."""

    at: str
    """Timestamp of the record, ISO 8601."""

    account_ref: str
    simulated: bool
    alert: AlertDocument


class AccountAnswer(Answer):
    account: Account
    active_alerts: list[AlertItem]
    movements: list[Movement]
    """The newest movements by event time."""

    next_movements: str | None
    """`cursor` of GET …/movements for the older ones; null if there are none."""


class MovementsAnswer(Answer):
    movements: list[Movement]
    next: str | None


class MovementAnswer(Answer):
    movement: Movement


class AlertsAnswer(Answer):
    alerts: list[AlertItem]
    next: str | None


class AlertAnswer(Answer):
    alert: AlertItem
    deliveries: list[Delivery] | None
    """By receiver; null if no deliveries are recorded in this pipeline."""


class EventPlace(_Model):
    place: str
    at: str


class EventAnswer(Answer):
    event_id: str
    received: list[EventPlace]
    """Raw records with this event id, oldest first."""

    not_looked_at: list[str]


class Step(_Model):
    at: str
    since_s: float | None
    """Seconds since the previous step."""

    what: str
    place: str | None
    facts: dict[str, Any]
    """Depends on `what`; decimals are strings with every digit."""


class Origin(_Model):
    """A field of the typed record and where its value comes from."""

    field: str
    value: Any
    pointer: str | None
    """JSON Pointer of the member of the raw event; null if the field is derived."""

    raw: Any
    """The member as received."""

    doc: str


class RawValue(_Model):
    place: str
    bytes: int
    text: str | None
    """The first bytes as text, with control characters escaped; null if they are masked."""

    is_cut: bool


class TraceAnswer(Answer):
    event_id: str
    account_ref: str | None
    steps: list[Step]
    raw: list[RawValue]
    origins: list[Origin]
    not_looked_at: list[str]
    """What this trace does not cover, and how to go on."""

    took_ms: int


class QuarantineItem(_Model):
    id: str
    """partition:offset, the argument of `quarantine show`."""

    at: str
    reason: str
    stage: str
    biz_type: str | None
    event_id: str | None
    account_ref: str | None
    account_key: str | None
    source: str
    """topic/partition/offset of the rejected record."""

    replayed: str | None
    """When it was replayed, ISO 8601; null if it was not."""


class QuarantineAnswer(Answer):
    records: list[QuarantineItem]
    next: str | None
    reasons: dict[str, int]
    """Records by reason, of all that the filters take."""


class QuarantinedAnswer(Answer):
    item: QuarantineItem
    record: QuarantinedDocument | None
    """Null if Kafka does not have the record any more or did not answer."""

    now: str | None
    """What a replay would do by this version's contracts."""

    text: str | None
    not_looked_at: list[str]


class ReconciliationAnswer(Answer):
    """Counts of all records that this console has read, since its tables were filled from the oldest records."""

    received: int
    typed: dict[str, int]
    quarantined: dict[str, int]
    """By reason; records that the router rejected."""

    quarantined_by_projector: dict[str, int]
    replayed: int
    without_output: int
    """received minus typed minus quarantined: duplicates, and events that the router has not processed yet."""

    alerts: dict[str, int]
    """By `RULE STATUS`."""

    active_alerts: dict[str, int]
    accounts: int
    movements: int


class TopicItem(_Model):
    name: str
    key: str
    cleanup: str
    retention_days: int | None
    contract: str
    description: str
    per_s: float
    """Records per second over the last seconds."""


class ContractsAnswer(Answer):
    topics: list[TopicItem]


class FieldItem(_Model):
    name: str
    type: str
    field_class: str
    doc: str
    origin: str | None


class ContractAnswer(Answer):
    topic: TopicItem
    owner: str
    biz_type: str | None
    fields: list[FieldItem]
    versions: list[int] | None
    """Versions of the subject in the schema registry; null if it did not answer."""

    schema_id: int | None
    samples: dict[str, str]


class Hit(_Model):
    kind: Literal["account", "movement", "alert", "event", "quarantined"]
    ref: str
    """Name in URLs of this console."""

    url: str
    text: str


class SearchAnswer(Answer):
    query: str
    hits: list[Hit]
    not_looked_at: list[str]


class Problem(_Model):
    """An error (RFC 9457, application/problem+json)."""

    type: str
    title: str
    status: int
    detail: str
