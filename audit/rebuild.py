"""Rebuilds the state tables from the typed topics and compares them with the live ones.

The interleaving of topics makes no difference to the result. A movement comes from one topic alone. Each part of an
account's state is the newest statement of one fact, by event time and type (processors.rules.recency). So the rebuild
folds one topic after the other, each in the order of its offsets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from broker_events.audit.fingerprint import typed_id
from broker_events.audit.missing_alerts import MissingAlerts
from broker_events.audit.progress import Progress
from broker_events.audit.repair import Output
from broker_events.audit.state_diff import Comparison, RetainedEvents, compare, doubtful_accounts
from broker_events.processors.active_alerts import ACTIVE_ALERTS
from broker_events.processors.alert_record import AlertWriter, alert_headers
from broker_events.processors.alert_rules.load import load_rules
from broker_events.processors.fold import Folded, fold, typed_topics
from broker_events.processors.projector import ALERTS, NAME, TABLES, source_uri
from broker_events.processors.rules import INDEX_KEYS, active_change
from broker_events.runtime.consume.record import KafkaRecord, TopicPartition, partition_of, place_of
from broker_events.runtime.kafka.clients import Headers
from broker_events.runtime.kafka.topic_reader import committed_offsets, first_offsets, read_to_end
from broker_events.runtime.kafka.topics import derived_size_limit
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.quarantine.reader import QuarantineReader
from broker_events.runtime.quarantine.writer import QUARANTINE
from broker_events.runtime.schema_ids import registry_problem, resolve_schema_ids, schema_lookup
from broker_events.runtime.settings import Settings
from broker_events.runtime.state.partition_state import PartitionState
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.codec import Codec
from broker_events.schemas.invalid_event import InvalidEvent
from broker_events.schemas.registry import RegistryError

MOVEMENTS: Final = "state.movements"

Values = dict[bytes, bytes]
Note = Callable[[KafkaRecord, Folded], None]


class Unfolded(NamedTuple):
    """An event that this build and these settings can't fold, though the projectors have not quarantined it."""

    topic: str
    partition: int
    offset: int
    reason: str


def _is_copy(settings: Settings) -> bool:
    """Whether `broker-events copy` has written the pipeline: its states may rest on events that only the source had."""
    cursors = {TopicPartition(settings.topic("ingest.cursors"), 0): 0}
    return any(
        (record.key() or b"").startswith(b"copy.") for records in read_to_end(settings, cursors) for record in records
    )


class Folding(NamedTuple):
    """Result of folding one partition number: the tables, alerts.active, and keys that changed meanwhile by table."""

    tables: dict[str, PartitionState[Any]]
    active: Values
    moving: dict[str, set[bytes]]
    unfolded: list[Unfolded]


class Rebuild:
    """Rebuilds and compares one partition number after another.

    Raises OperatorActionRequired where the registry lacks a schema or the projectors' offsets are gone. Raises
    RestartRequired where Kafka or the registry don't answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._size_limit = derived_size_limit(settings)
        self._max_skew_us = settings.max_clock_skew_us
        catalog = load_catalog()
        ids = resolve_schema_ids(settings, catalog)
        lookup = schema_lookup(settings)

        def codec(topic: str) -> Codec[Any]:
            return Codec(catalog.topics[topic][0], ids[topic], lookup)

        self._is_copy = _is_copy(settings)
        rules = load_rules(settings, catalog)
        self._stateless = {rule.rule.name for rule in rules if rule.is_stateless}
        self._typed = typed_topics(catalog, settings.topic, codec, rules)
        # A record of alerts.active has the same value as its alert.
        self._codecs = {name: codec(name) for name in TABLES} | {ACTIVE_ALERTS: codec(ALERTS)}
        self._quarantine = QuarantineReader(settings, catalog, ids[QUARANTINE], NAME, self._typed)
        self._writer = AlertWriter(self._codecs[ACTIVE_ALERTS], source_uri(settings))

    def compare(self, partition: int) -> tuple[list[Comparison], list[Unfolded], dict[TopicPartition, int]]:
        """Compare the tables of a partition.

        Return also the events left out, and the projectors' offsets that the result holds for.

        Projectors may run meanwhile. Their offsets are read before and after the live tables, and a key that an event
        between the two has changed counts as `moving`.
        """
        sources = [TopicPartition(topic, partition) for topic in self._typed]
        before = self._committed(sources)
        live = {name: self._live(name, partition) for name in self._codecs}
        found = self._committed(sources)
        refuse_without_offsets(self._settings.group(NAME), partition, found, live)
        after = {tp: offset or 0 for tp, offset in found.items()}
        is_cut = bool(self._cut(sources))
        retained = self._named(live) if is_cut else None
        folded = self._fold(partition, before, after, retained)
        rebuilt = {name: states.values for name, states in folded.tables.items()} | {ACTIVE_ALERTS: folded.active}
        accounts, comparisons = self._codecs["state.accounts"].decode, []
        for name, codec in self._codecs.items():
            doubtful: set[str] = set()
            if retained is not None and name == ACTIVE_ALERTS:
                doubtful = doubtful_accounts(live["state.accounts"], accounts, retained)
            comparison = Comparison(name, partition)
            compare(comparison, live[name], rebuilt[name], codec.decode, folded.moving[name], retained, doubtful)
            comparisons.append(comparison)
        return comparisons, folded.unfolded, after

    def missing_alerts(
        self, partition: int, audit: Headers
    ) -> tuple[MissingAlerts, list[Output], list[Unfolded], dict[TopicPartition, int]]:
        """Find the alerts that the topic `alerts` lacks, of events that the projectors have read.

        Return also the records that repair it, with the headers `audit`, the events left out, and the projectors'
        offsets that the result holds for.
        """
        sources = [TopicPartition(topic, partition) for topic in self._typed]
        found = self._committed(sources)  # read before the alerts, so theirs are complete
        cut = self._cut(sources)
        missing = MissingAlerts(cut, self._max_skew_us, self._stateless)
        self._read_alerts(partition, missing)
        live = self._live(ACTIVE_ALERTS, partition)
        refuse_without_offsets(self._settings.group(NAME), partition, found, {ALERTS: missing.known})
        after = {tp: offset or 0 for tp, offset in found.items()}
        folded = self._fold(partition, after, after, None, missing.note)
        missing.judge(folded.tables[MOVEMENTS], self._live_movements(partition))
        # The table first: if this run ends in between, the next one still finds the alert missing.
        outputs = [
            self.output(ACTIVE_ALERTS, partition, key, value, audit)
            for key, value in missing.active_changes(live, folded.active)
        ]
        outputs += [
            Output(ALERTS, partition, each.key, each.alert.value, each.alert.headers + audit)
            for each in missing.missing
        ]
        return missing, outputs, folded.unfolded, after

    def _cut(self, partitions: Sequence[TopicPartition]) -> set[TopicPartition]:
        """Return the partitions that may lack records: retention deleted some, or the pipeline is a copy of one."""
        firsts = first_offsets(self._settings, partitions)
        return {tp for tp, first in firsts.items() if first > 0 or self._is_copy}

    def _read_alerts(self, partition: int, missing: MissingAlerts) -> None:
        tp = TopicPartition(self._settings.topic(ALERTS), partition)
        is_cut = bool(self._cut([tp]))
        for records in read_to_end(self._settings, {tp: 0}):
            if is_cut and not missing.since_ms:
                missing.since_ms = records[0].timestamp()[1]
            for record in records:
                if (value := record.value()) is not None:
                    missing.know(self._readable(ACTIVE_ALERTS, value, place_of(record)))
        if is_cut and not missing.since_ms:
            missing.since_ms = math.inf

    def output(
        self, topic: str, partition: int, key: bytes, value: bytes | None, audit: Headers | None = None
    ) -> Output:
        """Return the record of a table, with the headers that the projector writes and `audit`.

        An active alert has CloudEvents attributes.
        """
        headers: Headers = []
        if topic == ACTIVE_ALERTS and value is not None:
            headers = alert_headers(self._codecs[ACTIVE_ALERTS].decode(value), source_uri(self._settings))
        return Output(topic, partition, key, value, headers + (audit or []))

    def _committed(self, sources: Sequence[TopicPartition]) -> dict[TopicPartition, int | None]:
        return committed_offsets(self._settings, self._settings.group(NAME), sources)

    def _live_movements(self, partition: int) -> Iterator[Any]:
        topic = self._settings.topic(MOVEMENTS)
        for value, offset in self._live_records(MOVEMENTS, partition).values():
            yield self._readable(MOVEMENTS, value, f"{topic}[{partition}]@{offset}")

    def _readable(self, name: str, value: bytes, place: str) -> Any:  # noqa: ANN401  (a record of the table)
        """Decode a record that may show that an alert was written."""
        try:
            return self._codecs[name].decode(value)
        except RegistryError as error:
            raise registry_problem(error) from None
        except ValueError as error:
            raise OperatorActionRequired(
                f"{place} cannot be decoded ({error}). It may show that an alert was written, so no alert of its "
                "partition is judged. If its schema id is unknown, compare SCHEMA_REGISTRY_URL with the projectors'; "
                "for state.movements run rebuild --apply first"
            ) from None

    def _live(self, name: str, partition: int) -> Values:
        return {key: value for key, (value, _) in self._live_records(name, partition).items()}

    def _live_records(self, name: str, partition: int) -> dict[bytes, tuple[bytes, int]]:
        """Return value and offset of each key's last record."""
        values: dict[bytes, tuple[bytes, int]] = {}
        for records in read_to_end(self._settings, {TopicPartition(self._settings.topic(name), partition): 0}):
            for record in records:
                key, value = record.key() or b"", record.value()
                if value is None:
                    values.pop(key, None)
                else:
                    values[key] = value, record.offset()
        return values

    def _named(self, live: Mapping[str, Values]) -> RetainedEvents:
        retained = RetainedEvents()
        for name, values in live.items():
            for record in self._decoded(name, values):
                retained.name(record)
        return retained

    def _decoded(self, name: str, values: Values) -> Iterator[Any]:
        """Yield the readable records of a table."""
        for value in values.values():
            with suppress(ValueError):
                yield self._codecs[name].decode(value)

    def _fold(
        self,
        partition: int,
        before: Mapping[TopicPartition, int | None],
        after: Mapping[TopicPartition, int],
        retained: RetainedEvents | None,
        note: Note | None = None,
    ) -> Folding:
        """Fold one partition number up to the offsets `after`. `moving`: the keys changed since `before`."""
        tables: dict[str, PartitionState[Any]] = {
            name: PartitionState(self._codecs[name], INDEX_KEYS.get(name)) for name in TABLES
        }
        folding = Folding(tables, {}, {name: set() for name in self._codecs}, [])
        progress = Progress(f"typed records of partition {partition}")
        for tp, end in after.items():
            for records in read_to_end(self._settings, {tp: 0}, {tp: end}):
                for record in records:
                    changed = self._fold_one(record, folding, retained, note)
                    if record.offset() >= (before[tp] or 0):
                        for name, key in changed:
                            folding.moving[name].add(key)
                for states in tables.values():
                    states.settle()
                progress.add(len(records))
        if not folding.unfolded:
            return folding
        quarantine = self._quarantine.read({TopicPartition(self._settings.topic(QUARANTINE), partition): 0})
        left_out = {(event["topic"], event["partition"], event["offset"]) for _, event in quarantine}
        return folding._replace(unfolded=[each for each in folding.unfolded if each[:3] not in left_out])

    def _fold_one(
        self, record: KafkaRecord, folding: Folding, retained: RetainedEvents | None, note: Note | None
    ) -> list[tuple[str, bytes]]:
        """Fold a record; return table and key of all that it may have changed."""
        typed = self._typed[record.topic()]
        tables = {name: {record.partition(): states} for name, states in folding.tables.items()}
        try:
            folded = fold(typed, record, tables, self._writer, self._size_limit, self._max_skew_us)
        except InvalidEvent as problem:
            folding.unfolded.append(Unfolded(*partition_of(record), record.offset(), problem.reason))
            return []
        except RegistryError as error:
            raise registry_problem(error) from None
        if retained is not None:
            retained.find(typed_id(record.value() or b""))
        if note is not None:
            note(record, folded)
        changed: list[tuple[str, bytes]] = [(typed.projection.topic, key) for key in (folded.state_key, *folded.others)]
        for alert in folded.alerts:
            change = active_change(alert.alert)
            if change is not None:
                key = change.dedup_key.encode()
                if change.alert is None:
                    folding.active.pop(key, None)
                else:
                    folding.active[key] = alert.value
                changed.append((ACTIVE_ALERTS, key))
        return changed


def refuse_unfolded(unfolded: Sequence[Unfolded]) -> None:
    """Raise OperatorActionRequired where events are left out: without them the result is not what the events mean."""
    if unfolded:
        first = unfolded[0]
        raise OperatorActionRequired(
            f"{len(unfolded):,} of the events that the projectors have read can't be applied here, first "
            f"{first.topic}[{first.partition}]@{first.offset} ({first.reason}). Nothing is written for partition "
            f"{first.partition}. Run rebuild with the projectors' version and settings (MAX_MESSAGE_BYTES for "
            "too_large); without --apply it lists every such event"
        )


def refuse_without_offsets(
    group: str, partition: int, offsets: Mapping[TopicPartition, int | None], live: Mapping[str, Collection[object]]
) -> None:
    """Raise OperatorActionRequired where a partition has state and the group (Kafka name) no offset on a typed topic.

    The rebuild would read no event, and report every live key as extra.
    """
    keys = sum(map(len, live.values()))
    if keys and all(offset is None for offset in offsets.values()):
        raise OperatorActionRequired(
            f"the group {group} has no offset on any typed topic in partition {partition}, yet the tables hold "
            f"{keys:,} keys. Its offsets have expired, or the tables come from another cluster. Set the offsets to the "
            "beginning (kafka-consumer-groups --reset-offsets --to-earliest), start the projectors, and run rebuild "
            "again once they have caught up"
        )
