"""The projector: typed topics -> state tables and alerts, by the rules."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from broker_events.processors.active_alerts import ACTIVE_ALERTS, ActiveAlerts
from broker_events.processors.alert_record import AlertRecord, AlertWriter
from broker_events.processors.alert_rules.load import load_rules
from broker_events.processors.app import run_worker
from broker_events.processors.fold import TypedTopic, fold, typed_topics
from broker_events.processors.rules import INDEX_KEYS, PROJECTIONS, Flag, active_change
from broker_events.processors.rules.alerting import RULES
from broker_events.runtime.consume.failed_record import RecordFailed
from broker_events.runtime.consume.offset_moves import topic_ids
from broker_events.runtime.consume.record import KafkaRecord, RecordBatch, TopicPartition, partition_of, place_of
from broker_events.runtime.consume.record_source import Processor
from broker_events.runtime.consume.starting_offsets import refusal
from broker_events.runtime.kafka.clients import Headers, admin_client
from broker_events.runtime.kafka.topic_reader import first_offsets
from broker_events.runtime.kafka.topics import derived_size_limit
from broker_events.runtime.kafka.transaction import Transaction
from broker_events.runtime.process.errors import OperatorActionRequired, RestartRequired
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.process.operator import operator
from broker_events.runtime.quarantine.writer import Quarantine
from broker_events.runtime.schema_ids import schema_lookup
from broker_events.runtime.settings import Settings
from broker_events.runtime.state.state_tables import StateTables, TableKind
from broker_events.schemas.catalog import Catalog, load_catalog
from broker_events.schemas.codec import Codec
from broker_events.schemas.headers import SKIP_REASON, SKIPPED_BY
from broker_events.schemas.invalid_event import InvalidEvent, Reason
from broker_events.schemas.registry import RegistryError
from broker_events.schemas.storage_types import Alert

if TYPE_CHECKING:
    from broker_events.processors.alert_rules.rule import DataRule

log = logging.getLogger(__name__)

NAME: Final = "projector"
TABLES: Final = ("state.accounts", "state.movements")
ALERTS: Final = "alerts"
# Reasons to stop at a typed record: a fixed build can fold it, so passing over it would lose its alerts.
_STOPPING: Final = {Reason.INTERNAL_ERROR, Reason.UNDECODABLE, Reason.NO_VALUE}


class Projector(Processor):
    """Folds typed events into the tables of their partition; one worker has partition k of every topic."""

    def __init__(
        self,
        settings: Settings,
        typed: Mapping[str, TypedTopic],
        tables: StateTables,
        alert_codec: Codec[Alert],
        quarantine: Quarantine,
        transaction: Transaction,
        metrics: Metrics,
        active: ActiveAlerts,
        data_rules: Sequence[DataRule] = (),
    ) -> None:
        self._settings = settings
        self._typed = typed
        self._tables = tables
        self._writer = AlertWriter(alert_codec, source_uri(settings))
        self._quarantine = quarantine
        self._transaction = transaction
        self._metrics = metrics
        self._alerts_topic = settings.topic(ALERTS)
        self._active_topic = settings.topic(ACTIVE_ALERTS)
        self._size_limit = derived_size_limit(settings)
        self._max_skew_us = settings.max_clock_skew_us
        self._active = active
        self._skipped = set(settings.projector_skip)
        self._skip_reason = settings.projector_skip_reason or ""
        # Times of receipt by the bridge and of reading here, Unix seconds.
        self._alerted: list[tuple[float, float]] = []
        for rule in (*RULES, *(each.rule for each in data_rules)):  # rate() needs an initial 0
            for status in ("FIRING", "RESOLVED") if rule.is_condition else ("FIRING",):
                metrics.alerts.labels(rule.name, status)
        for topic in typed.values():
            for flag in Flag:
                self._counter_of(flag).labels(topic.biz_type)

    def restore(
        self, positions: Mapping[TopicPartition, int], unmoved: set[TopicPartition], foreign: set[TopicPartition]
    ) -> None:
        """Load the tables of the assigned partition numbers."""
        numbers = {tp.partition for tp in positions}
        kept = {number for number in numbers if all((topic, number) in unmoved for topic in self._typed)}
        split = {number for number in numbers if any((topic, number) not in positions for topic in self._typed)}
        if split:
            raise RestartRequired(f"partitions {sorted(split)} of the typed topics are not all assigned to this worker")
        firsts = first_offsets(self._settings, foreign)
        for tp in sorted(foreign):
            # States don't name the offsets that they come from. Only a start at the beginning is safe: older events
            # change nothing.
            if positions[tp] > firsts[tp]:
                raise refusal(tp, positions[tp], NAME, "events before it may never have been projected")
        self._tables.restore(numbers, kept)
        self._active.restore(numbers, kept)
        self._alerted.clear()

    def restoring(self) -> str:
        return self._tables.progress

    def process(self, batch: RecordBatch) -> None:
        flags: Counter[tuple[Flag, str]] = Counter()
        projected: Counter[str] = Counter()
        alerts: Counter[tuple[str, str]] = Counter()
        read_s = time.time()
        for tp, records in batch.partitions.items():
            typed = self._typed[tp.topic]
            for record in records:
                try:
                    _, outcome, written, _ = fold(
                        typed, record, self._tables.states, self._writer, self._size_limit, self._max_skew_us
                    )
                except InvalidEvent as problem:
                    self._reject(record, problem, stops=problem.reason in _STOPPING)
                    continue
                except RegistryError as error:
                    raise RestartRequired(f"looking up a schema: {error}") from None
                projected[typed.biz_type] += 1
                for alert_record in written:
                    self._produce_alert(alert_record, record)
                    alert = alert_record.alert
                    self._alerted.append((record.timestamp()[1] / 1000, read_s))
                    alerts[alert["rule"], alert["status"]] += 1
                for flag in outcome.flags:
                    flags[flag, typed.biz_type] += 1
        for biz_type, count in projected.items():
            self._metrics.projected.labels(biz_type).inc(count)
        for (rule, status), count in alerts.items():
            self._metrics.alerts.labels(rule, status).inc(count)
        for (flag, biz_type), count in flags.items():
            self._counter_of(flag).labels(biz_type).inc(count)

    def refuse(self, record: KafkaRecord, problem: InvalidEvent) -> None:
        """Stop: with other topic settings the record's state and alerts can be written."""
        self._reject(record, problem, stops=True)

    def _reject(self, record: KafkaRecord, problem: InvalidEvent, *, stops: bool) -> None:
        """Quarantine an invalid event, unless it `stops` the worker and the operator doesn't skip it: RecordFailed."""
        audit: Headers = []
        if stops:
            tp, offset = partition_of(record), record.offset()
            if f"{tp.topic}:{tp.partition}:{offset}" not in self._skipped:
                # The detail of an internal error may quote the record; its traceback is in the log.
                detail = "see the traceback above" if problem.reason is Reason.INTERNAL_ERROR else problem.detail
                raise RecordFailed(tp, offset, f"{problem.reason}: {detail}")
            log.warning("%s: %s, skipped as PROJECTOR_SKIP asks", place_of(record), problem.reason)
            audit = [(SKIPPED_BY, operator()), (SKIP_REASON, self._skip_reason)]
        self._quarantine.put(self._transaction, record, problem, audit)

    def _produce_alert(self, alert_record: AlertRecord, record: KafkaRecord) -> None:
        alert, value, headers = alert_record
        partition = record.partition()
        self._transaction.produce(self._alerts_topic, value, record.key(), partition, headers)
        change = active_change(alert)
        if change is not None:
            active = None if change.alert is None else value
            self._transaction.produce(self._active_topic, active, change.dedup_key, partition, headers)
            self._active.note(partition, change.dedup_key.encode(), holds=active is not None)

    def _counter_of(self, flag: Flag) -> Any:  # noqa: ANN401 (prometheus_client's Counter has no label types)
        return {
            Flag.STALE: self._metrics.stale,
            Flag.UNKNOWN_VALUE: self._metrics.unknown_values,
            Flag.CLOCK_AHEAD: self._metrics.clock_ahead,
            Flag.ILLEGAL_TRANSITION: self._metrics.illegal_transitions,
            Flag.MERGED: self._metrics.merged_movements,
            Flag.ALERTED_TWICE: self._metrics.alerted_twice,
            Flag.ID_CONFLICT: self._metrics.id_conflicts,
        }[flag]

    def before_commit(self) -> None:
        self._tables.flush(self._transaction)

    def after_commit(self) -> None:
        self._tables.committed(self._transaction)
        if not self._alerted:
            return
        now_s = time.time()
        self._metrics.push_to_alert.observe_all([max(now_s - received_s, 0) for received_s, _ in self._alerted])
        self._metrics.typed_to_alert.observe_all([max(now_s - read_s, 0) for _, read_s in self._alerted])
        self._alerted.clear()
        self._active.show()


def source_uri(settings: Settings) -> str:
    """Return the CloudEvents source of every alert: the pipeline's projector, not one worker."""
    return f"/{settings.topic_prefix}/{NAME}"


def _skips(settings: Settings) -> tuple[str, ...]:
    """Return the places of PROJECTOR_SKIP in the present topics, without the topic's id.

    Raises OperatorActionRequired for one without an id: it would skip a record of a topic that is created again.
    """
    kept = []
    places = [place.split(":") for place in settings.projector_skip]
    topics = sorted({topic for topic, *_ in places})
    ids = topic_ids(admin_client(settings), topics) if topics else {}
    for topic, partition, offset, *topic_id in places:
        place = f"{topic}:{partition}:{offset}"
        if not topic_id:
            raise OperatorActionRequired(f"PIPELINE_PROJECTOR_SKIP: {place} has no topic id: {place}:{ids[topic]}")
        if topic_id == [ids[topic]]:
            kept.append(place)
        else:
            log.warning("%s of PROJECTOR_SKIP has no effect: the topic was created again", ":".join([place, *topic_id]))
    return tuple(kept)


def run(settings: Settings, stop: threading.Event, catalog: Catalog | None = None) -> None:
    """Run a projector until `stop` is set. Raises OperatorActionRequired, RestartRequired or RecordBlocks."""
    contracts = catalog or load_catalog()
    data_rules = load_rules(settings, contracts)
    lookup = schema_lookup(settings, settings.transaction_timeout_ms / 3000)
    resources = ExitStack()

    def build(
        schema_ids: Mapping[str, int], quarantine: Quarantine, transaction: Transaction, metrics: Metrics
    ) -> Projector:
        def codec(topic: str) -> Codec[Any]:
            return Codec(contracts.topics[topic][0], schema_ids[topic], lookup)

        typed = typed_topics(contracts, settings.topic, codec, data_rules)
        kinds = {name: TableKind(codec(name), INDEX_KEYS.get(name)) for name in TABLES}
        tables = StateTables(settings, NAME, kinds, metrics, stop)
        resources.callback(tables.close)
        active = ActiveAlerts(settings, metrics, stop, [each.rule for each in data_rules])
        skipping = settings.model_copy(update={"projector_skip": _skips(settings)})
        return Projector(skipping, typed, tables, codec(ALERTS), quarantine, transaction, metrics, active, data_rules)

    sources = [settings.topic(contracts.events[biz_type].topics[0].name) for biz_type in PROJECTIONS]
    for place in settings.projector_skip:
        if place.partition(":")[0] not in sources:
            raise OperatorActionRequired(f"PIPELINE_PROJECTOR_SKIP: {place}: no projector reads this topic")
    with resources:
        run_worker(settings, NAME, contracts, sources, [settings.topic(name) for name in TABLES], build, stop)
