"""What holds now for accounts, movements and alerts: the newest records of compacted topics, and their text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from broker_events.runtime.events.amounts import for_people
from broker_events.schemas.headers import SIMULATED

if TYPE_CHECKING:
    from broker_events.runtime.consume.record import KafkaRecord, TopicPartition
    from broker_events.runtime.settings import Settings
    from broker_events.schemas.models import Alert, MovementState

ACCOUNTS: Final = "state.accounts"
MOVEMENTS: Final = "state.movements"
ACTIVE: Final = "alerts.active"
NOT_FOUND: Final = 1


@dataclass(frozen=True, slots=True)
class Found:
    """A decoded record. `model` is one of schemas.models."""

    model: Any
    at_ms: int
    simulated: bool

    def document(self) -> dict[str, object]:
        """Return the fields for JSON, with `simulated` if it is."""
        fields: dict[str, object] = self.model.model_dump()
        return fields | {SIMULATED: True} if self.simulated else fields


class CurrentState:
    """Looks up the newest records. Raises OperatorActionRequired where a topic is missing or a value is unreadable."""

    def __init__(self, settings: Settings) -> None:
        from broker_events.cli.decoding import open_decoder

        self._settings = settings
        self._decode = open_decoder(settings)

    def partitions(self, topic: str, account: str | None) -> list[TopicPartition]:
        """Return the partition of the account key, or all partitions; `topic` without the prefix."""
        from broker_events.runtime.kafka.partitioner import partition_for
        from broker_events.runtime.kafka.topic_reader import topic_partitions

        partitions = topic_partitions(self._settings, self._settings.topic(topic))
        return partitions if account is None else [partitions[partition_for(account.encode(), len(partitions))]]

    def newest(
        self,
        partitions: Iterable[TopicPartition],
        wanted: Callable[[KafkaRecord], bool],
        *,
        fits: Callable[[Any], bool] = lambda _: True,
        limit: int | None = None,
    ) -> list[Found]:
        """Return the last value of each key of a compacted topic that is `wanted` and, decoded, `fits`; newest first.

        Reads from the ends backwards, and stops as soon as `limit` keys are found.
        """
        seen: set[tuple[int, bytes | None]] = set()
        found: list[Found] = []
        for records in self._back(partitions):
            for record in reversed(records):
                key = (record.partition(), record.key())
                if key not in seen and wanted(record):
                    found += [each for each in self._found(record) if fits(each.model)]
                seen.add(key)
            if limit is not None and len(found) >= limit:
                break
        return sorted(found, key=lambda each: -each.at_ms)[:limit]

    def last(self, partitions: Sequence[TopicPartition], limit: int, fits: Callable[[Any], bool]) -> list[Found]:
        """Return the newest `limit` records of a topic whose decoded values fit, newest first."""
        found: dict[int, list[Found]] = {tp.partition: [] for tp in partitions}
        for records in self._back(partitions):
            for record in reversed(records):
                if len(of_partition := found[record.partition()]) < limit:
                    of_partition += [each for each in self._found(record) if fits(each.model)]
            if all(len(of_partition) == limit for of_partition in found.values()):
                break
        return sorted(chain(*found.values()), key=lambda each: -each.at_ms)[:limit]

    def _back(self, partitions: Iterable[TopicPartition]) -> Iterator[list[KafkaRecord]]:
        from broker_events.runtime.kafka.topic_reader import read_back

        return read_back(self._settings, partitions)

    def _found(self, record: KafkaRecord) -> list[Found]:
        """Return the record decoded; nothing for a tombstone."""
        from broker_events.runtime.consume.record import place_of
        from broker_events.runtime.process.errors import OperatorActionRequired

        value = record.value()
        if value is None:
            return []
        simulated = any(name == SIMULATED for name, _ in record.headers() or ())
        try:
            return [Found(self._decode(value), record.timestamp()[1], simulated)]
        except ValueError as error:
            raise OperatorActionRequired(f"{place_of(record)}: {error}") from None


def alert_line(found: Found) -> tuple[str, ...]:
    """Return the cells of an alert: time, status, rule, account, summary."""
    alert: Alert = found.model
    summary = f"{alert.summary} (simulated)" if found.simulated else alert.summary
    return alert.event_time_text, alert.status, alert.rule, alert.account_key, summary


def movement_line(found: Found) -> tuple[str, ...]:
    """Return the cells of a movement: time, type, amount, status, movement id."""
    movement: MovementState = found.model
    kind = " ".join(filter(None, (movement.biz_type, movement.type, movement.direction)))
    return movement.event_time_text, kind, amount_text(movement), movement.status, movement.movement_id


def amount_text(movement: MovementState) -> str:
    """Return `1,234.50 USD`, for an exchange `100 USD -> 782.1 HKD`."""
    sides = (
        (movement.amount, movement.currency),
        (movement.from_amount, movement.from_currency),
        (movement.to_amount, movement.to_currency),
    )
    return " -> ".join(
        f"{for_people(value)} {currency or ''}".rstrip() for value, currency in sides if value is not None
    )
