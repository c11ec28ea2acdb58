"""Trace of one event through the pipeline, from the records found in the topics. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from broker_events.runtime.consume.record import KafkaRecord, place_of
from broker_events.runtime.events.body_hash import body_hash
from broker_events.runtime.events.times import parse_time
from broker_events.schemas.headers import RECOVERED_FROM, SIMULATED, raw_offset
from broker_events.schemas.models import Alert, Delivery, QuarantinedEvent, QuarantineRecovery
from broker_events.schemas.models import Record as Model

_SHOWN_OF_QUARANTINE: Final = ("reason", "pointer", "detail", "stage", "worker", "recovered_from", "recovery_id")
# First words of steps, in the order of the data flow.
_ENDS: Final = ("delivered", "given", "skipped")
_FLOW: Final = ("happened", "replayed", "received", "typed", "quarantined", "caused", "mentioned", "in", *_ENDS)
_SHOWN_OF_ALERT: Final = ("rule", "status", "dedup_key", "alert_id", "summary")
_OUTCOMES: Final = {"DELIVERED": "delivered to", "GIVEN_UP": "given up for", "SKIPPED": "skipped for"}
_SHOWN_OF_DELIVERY: Final = (
    "alert_id",
    "alert_status",
    "attempts",
    "first_attempt_at",
    "last_attempt_at",
    "last_status",
    "detail",
    "retried_by",
)


class Decoded(NamedTuple):
    """A record and its decoded value."""

    record: KafkaRecord
    model: Model


@dataclass
class EventRecords:
    """All records that name the event id. `routed_to`: the routers' committed offset by raw partition."""

    raw: list[KafkaRecord] = field(default_factory=list)
    decoded: list[Decoded] = field(default_factory=list)
    routed_to: dict[int, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.raw or self.decoded)


class Step(NamedTuple):
    """One step of the trace. `at_us`: microseconds since the epoch; `place`: topic[partition]@offset."""

    at_us: int
    what: str
    place: str | None
    facts: dict[str, Any]


def steps(event_id: str, found: EventRecords) -> list[Step]:
    """Return the steps in the order of time; within one millisecond, in the order of the data flow.

    A typed record carries its raw record's timestamp, not the time of its writing. Its step has that time, and is never
    before the step of its raw record. A step of a simulated event says so.
    """
    typed = [each for each in found.decoded if raw_offset(each.record.headers()) is not None]
    received_us: dict[tuple[int, int | None], int] = {
        (record.partition(), record.offset()): _received_us(record) for record in found.raw
    }
    listed = [*_happened(typed), *(_received(record, found, typed) for record in found.raw)]
    for each in found.decoded:
        if each in typed:
            listed.append(_typed_step(each, received_us.get(_source(each.record), 0)))
        else:
            listed.append(_decoded_step(event_id, each))
    records = [*found.raw, *(each.record for each in found.decoded)]
    marked = {place_of(record) for record in records if any(name == SIMULATED for name, _ in record.headers() or ())}
    for step in listed:
        if step.place in marked:
            step.facts[SIMULATED] = "true"
    return sorted(listed, key=_time_and_flow)


def _time_and_flow(step: Step) -> tuple[int, int, int]:
    """Return the sort key. Only Kafka's timestamps are truncated to milliseconds."""
    return step.at_us // 1000, _FLOW.index(step.what.partition(" ")[0]), step.at_us


def mentions(event_id: str, content: Any, pointer: str = "") -> Iterator[str]:  # noqa: ANN401 (a model's dump)
    """Yield the JSON Pointer of every member of a record that equals this event id."""
    if isinstance(content, dict):
        for name, member in content.items():
            yield from mentions(event_id, member, f"{pointer}/{name}")
    elif isinstance(content, list):
        for number, item in enumerate(content):
            yield from mentions(event_id, item, f"{pointer}/{number}")
    elif content == event_id:
        yield pointer


def _happened(typed: Sequence[Decoded]) -> Iterator[Step]:
    """Yield the times at which the brokerage says that it happened."""
    for text in sorted({str(getattr(each.model, "event_time_text", "")) for each in typed}):
        try:
            yield Step(parse_time(text), "happened", None, {"event_time_text": text})
        except ValueError:
            continue


def _received(record: KafkaRecord, found: EventRecords, typed: Sequence[Decoded]) -> Step:
    headers = {name: (value or b"").decode(errors="backslashreplace") for name, value in record.headers() or ()}
    facts = headers | {"key": _text(record.key()), "bytes": len(record), "outcome": _outcome(record, found, typed)}
    what = "received again, from quarantine" if RECOVERED_FROM in headers else "received"
    return Step(_received_us(record), what, place_of(record), facts)


def _received_us(record: KafkaRecord) -> int:
    """Return when a raw record came (us). A replayed one has the first one's `received_at`: its timestamp counts."""
    headers = dict(record.headers() or ())
    if RECOVERED_FROM not in headers:
        try:
            return parse_time((headers.get("received_at") or b"").decode())
        except ValueError:
            pass
    return record.timestamp()[1] * 1000


def _outcome(record: KafkaRecord, found: EventRecords, typed: Sequence[Decoded]) -> str:
    """Return what the router made of a raw record."""
    at = (record.partition(), record.offset())
    outputs = [f"typed as {place_of(each.record)}" for each in typed if _source(each.record) == at]
    for each in found.decoded:
        source = each.model
        if isinstance(source, QuarantinedEvent) and (source.topic, source.partition, source.offset) == (
            record.topic(),
            *at,
        ):
            outputs.append(f"quarantined as {place_of(each.record)}")
    if outputs:
        return ", ".join(outputs)
    if record.offset() >= found.routed_to.get(record.partition(), 0):
        return "not routed yet"
    sources = {_source(each.record) for each in typed}
    for twin in found.raw:
        before = twin.partition() == record.partition() and twin.offset() < record.offset()
        same = body_hash(twin.value() or b"") == body_hash(record.value() or b"")
        if before and same and (twin.partition(), twin.offset()) in sources:
            return f"duplicate of {place_of(twin)}"
    return "no output is left: `broker-events ledger` shows whether it is lost or deleted by retention"


def _typed_step(each: Decoded, received_us: int) -> Step:
    record = each.record
    facts = {"key": _text(record.key()), "record": each.model.model_dump()}
    return Step(max(record.timestamp()[1] * 1000, received_us), "typed", place_of(record), facts)


def _decoded_step(event_id: str, each: Decoded) -> Step:
    record, model = each
    at_us = record.timestamp()[1] * 1000
    content = model.model_dump()
    if isinstance(model, QuarantinedEvent):
        facts = {name: content[name] for name in _SHOWN_OF_QUARANTINE if content[name] is not None}
        source = f"{model.topic}[{model.partition}]@{model.offset}"
        return Step(at_us, "quarantined", place_of(record), {"source": source} | facts)
    if isinstance(model, QuarantineRecovery):
        return Step(at_us, "replayed from quarantine", place_of(record), content)
    if isinstance(model, Delivery):
        facts = {name: content[name] for name in _SHOWN_OF_DELIVERY if content[name] is not None}
        what = f"{_OUTCOMES[model.outcome]} {model.receiver}"
        return Step(at_us, what, place_of(record), facts)
    parts = [*mentions(event_id, content)]
    if isinstance(model, Alert):
        facts = {name: content[name] for name in _SHOWN_OF_ALERT} | {"mentioned_in": parts}
        caused = model.event_id == event_id
        what = f"{'caused' if caused else 'mentioned in'} alert {model.status}"
        return Step(at_us, what, place_of(record), {"key": _text(record.key())} | facts)
    return Step(at_us, "in state", place_of(record), {"key": _text(record.key()), "mentioned_in": parts})


def _source(typed: KafkaRecord) -> tuple[int, int | None]:
    return typed.partition(), raw_offset(typed.headers())


def _text(key: bytes | None) -> str | None:
    return None if key is None else key.decode(errors="backslashreplace")
