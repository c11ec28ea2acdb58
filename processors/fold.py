"""Folding a typed record into the table of its state: what the projector does, and whoever checks its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from processors.rules import PROJECTIONS, Outcome, Projection, Source
from runtime.kafka import Headers
from runtime.quarantine import internal_error
from runtime.record import Record, trace_headers
from runtime.states import States
from schemas.catalog import Catalog
from schemas.codec import Codec
from schemas.invalid_event import InvalidEvent, Reason
from schemas.registry import RegistryError
from schemas.trace_context import TRACEPARENT

# An alert quotes its event and state before it: what is written for one event has to fit into one transaction.
MAX_ALERT_BYTES: Final = 8_388_608
# So many times an event's bytes may be in a state at most: a few dozen events, each with a few parts.
_MOST_OFTEN: Final = 256


class TypedTopic(NamedTuple):
    """What to do with the records of one typed topic."""

    biz_type: str
    codec: Codec[Any]
    projection: Projection


class Folded(NamedTuple):
    """What became of a record: the key of its state, the rules' answer, headers for what they made of it."""

    state_key: bytes
    outcome: Outcome[Any]
    headers: Headers


class Table(Protocol):
    """The states of a table's partitions."""

    def __getitem__(self, partition: int, /) -> States[Any]: ...


def typed_topics(
    catalog: Catalog, topic: Callable[[str], str], codec: Callable[[str], Codec[Any]]
) -> dict[str, TypedTopic]:
    """Every projected topic by its Kafka name; `topic` puts the prefix before a name, `codec` is that of the name."""
    names = {biz_type: catalog.events[biz_type].topics[0].name for biz_type in PROJECTIONS}
    return {topic(name): TypedTopic(biz_type, codec(name), PROJECTIONS[biz_type]) for biz_type, name in names.items()}


def fold(typed: TypedTopic, record: Record, tables: Mapping[str, Table], size_limit: int) -> Folded:
    """Fold one record into its table.

    `tables` by name without the prefix; `size_limit`: bytes that a record of theirs may have. Raises InvalidEvent or
    RegistryError, the table unchanged.
    """
    value, key = record.value(), record.key()
    if value is None or key is None:
        raise InvalidEvent(Reason.NO_VALUE, "", "a typed record has a key and a value")
    try:
        event = typed.codec.decode(value)
        account_key = key.decode()
    except ValueError as error:
        raise InvalidEvent(Reason.UNDECODABLE, "", str(error)) from None
    partition = record.partition()
    states = tables[typed.projection.topic][partition]
    source = Source(record.topic(), partition, record.offset())
    # Reading a record's headers costs as much as a tenth of all else: only where the event says it has one.
    traced = bool(event["extra"]) and f"/{TRACEPARENT}" in event["extra"]
    headers = trace_headers(record) if traced else []
    try:
        state_key = typed.projection.key(event, account_key).encode()
        state = states.get(state_key)
        outcome = typed.projection.apply(state, event, account_key, source)
        if outcome.alerts:
            size = len(value) + (0 if state is None else states.size(state))
            if len(outcome.alerts) * size > min(MAX_ALERT_BYTES, size_limit):
                detail = f"{len(outcome.alerts)} alerts, each with the event and what was before it: {size} bytes"
                raise InvalidEvent(Reason.TOO_LARGE, "", detail)
        if outcome.state is not state:
            states.put(state_key, outcome.state, headers, growth=len(value) * _MOST_OFTEN, limit=size_limit)
    except (InvalidEvent, RegistryError, MemoryError):  # the latter two are nothing that the record has done
        raise
    except Exception as error:  # noqa: BLE001 (rules are pure: a restart would meet it again)
        raise internal_error(record, error) from None
    return Folded(state_key, outcome, headers)
