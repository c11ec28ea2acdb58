"""Folds a typed record into the table of its state, for the projector and for the rebuild that checks its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from broker_events.processors.alert_record import AlertRecord, AlertWriter
from broker_events.processors.alert_rules.judge import apply_rules
from broker_events.processors.rules import PROJECTIONS, Flag, Outcome, Projection, RecordOrigin
from broker_events.processors.rules.recency import is_far_ahead
from broker_events.runtime.consume.record import KEPT, KafkaRecord, kept_headers
from broker_events.runtime.kafka.clients import Headers
from broker_events.runtime.process.errors import PipelineError
from broker_events.runtime.quarantine.writer import internal_error
from broker_events.runtime.state.partition_state import PartitionState
from broker_events.schemas.catalog import Catalog
from broker_events.schemas.codec import Codec
from broker_events.schemas.invalid_event import InvalidEvent, Reason
from broker_events.schemas.registry import RegistryError

if TYPE_CHECKING:
    from broker_events.processors.alert_rules.rule import DataRule

# An event adds at most this many times its bytes to a state, besides the bytes of its alerts.
_MOST_OFTEN: Final = 64
# Years 1 to 9999 in microseconds since the epoch: the range of datetime.
_FIRST_US: Final = -62_135_596_800_000_000
_END_US: Final = 253_402_300_800_000_000


class TypedTopic(NamedTuple):
    """How the records of one typed topic are read and projected."""

    biz_type: str
    codec: Codec[Any]
    projection: Projection
    rules: tuple[DataRule, ...] = ()


class Folded(NamedTuple):
    """Result of folding a record: key of its state, outcome of the rule, alerts ready to be produced.

    `others`: keys of further records that it changed in the table.
    """

    state_key: bytes
    outcome: Outcome[Any]
    alerts: list[AlertRecord]
    others: tuple[bytes, ...] = ()


class PartitionedTable(Protocol):
    """A table: its states by partition number."""

    def __getitem__(self, partition: int, /) -> PartitionState[Any]: ...


def typed_topics(
    catalog: Catalog, topic: Callable[[str], str], codec: Callable[[str], Codec[Any]], rules: Sequence[DataRule] = ()
) -> dict[str, TypedTopic]:
    """Return every projected topic by its Kafka name. `topic` adds the prefix to a name; `codec` is by name."""
    names = {biz_type: catalog.events[biz_type].topics[0].name for biz_type in PROJECTIONS}
    return {
        topic(name): TypedTopic(
            biz_type, codec(name), PROJECTIONS[biz_type], tuple(rule for rule in rules if biz_type in rule.by_type)
        )
        for biz_type, name in names.items()
    }


def fold(
    typed: TypedTopic,
    record: KafkaRecord,
    tables: Mapping[str, PartitionedTable],
    writer: AlertWriter,
    size_limit: int,
    max_skew_us: int,
) -> Folded:
    """Fold one record into its table.

    `tables` by name without the prefix. `size_limit`: most bytes of a state's record, and of all alerts of an event
    together. `max_skew_us`: MAX_CLOCK_SKEW_S in microseconds. Raises InvalidEvent or RegistryError, with the table
    unchanged.
    """
    value, key = record.value(), record.key()
    if value is None or key is None:
        raise InvalidEvent(Reason.NO_VALUE, "", "a typed record has a key and a value")
    event, account_key = _read(typed, record, value, key)
    if not _FIRST_US <= event["event_time"] < _END_US:
        raise InvalidEvent(Reason.BAD_TIME, "/timestamp", "outside the years 1 to 9999")
    partition = record.partition()
    states = tables[typed.projection.topic][partition]
    received_us = min(max(record.timestamp()[1] * 1000, 0), _END_US - 1)  # a foreign producer may write any timestamp
    source = RecordOrigin(record.topic(), partition, record.offset(), received_us, max_skew_us)
    # Reading headers costs a tenth of the fold, so they are read only if the event shows that there are some.
    extra = event["extra"]
    headers = kept_headers(record) if extra and any(f"/{name}" in extra for name in KEPT) else []
    try:
        state_key, state, outcome, link = typed.projection.apply(states, event, account_key, source)
        if typed.rules:
            outcome = apply_rules(typed.rules, outcome, event, account_key, source)
        if is_far_ahead(event["event_time"], source):
            outcome = outcome._replace(flags=(*outcome.flags, Flag.CLOCK_AHEAD))
        alerts, alert_bytes = _alert_records(outcome, writer, headers, key, size_limit) if outcome.alerts else ([], 0)
        if link is not None and link.others:
            _put_all(states, [(state_key, outcome.state), *link.others], headers, size_limit)
        elif outcome.state is not state:
            growth = len(value) * _MOST_OFTEN + alert_bytes
            states.put(state_key, outcome.state, headers, growth=growth, limit=size_limit)
        if link is not None:
            states.lead(link.index_keys, state_key)
    except (InvalidEvent, RegistryError, MemoryError, PipelineError):  # the record did not cause the latter three
        raise
    except Exception as error:  # noqa: BLE001 (rules are pure: a restart would fail again)
        raise internal_error(record, error) from None
    return Folded(state_key, outcome, alerts, () if link is None else tuple(key for key, _ in link.others))


def _read(typed: TypedTopic, record: KafkaRecord, value: bytes, key: bytes) -> tuple[Any, str]:
    """Return event and account key. Raises RegistryError, and InvalidEvent where the record can't be read."""
    try:
        return typed.codec.decode(value), key.decode()
    except ValueError as error:
        raise InvalidEvent(Reason.UNDECODABLE, "", str(error)) from None
    except (RegistryError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 (a schema that fastavro fails on)
        raise internal_error(record, error) from None


def _alert_records(
    outcome: Outcome[Any], writer: AlertWriter, headers: Headers, key: bytes, size_limit: int
) -> tuple[list[AlertRecord], int]:
    """Return the encoded alerts and their bytes. Raises InvalidEvent above `size_limit`."""
    alerts: list[AlertRecord] = []
    alert_bytes = 0
    for alert in outcome.alerts:
        alerts.append(writer.record(alert, headers))
        alert_bytes += alerts[-1].size(key)
        if alert_bytes > size_limit:
            first = f"the first {len(alerts)} have {alert_bytes} bytes, at most {size_limit} fit"
            raise InvalidEvent(Reason.TOO_LARGE, "", f"{len(outcome.alerts)} alerts: {first}")
    return alerts, alert_bytes


def _put_all(states: PartitionState[Any], puts: list[tuple[bytes, Any]], headers: Headers, size_limit: int) -> None:
    """Put all these states or none."""
    for key, state in puts:
        states.encode(key, state, size_limit)
    for key, state in puts:  # encode at once: a merged state has grown by more than one event
        states.put(key, state, headers, growth=size_limit, limit=size_limit)
