"""Names, units and labels of all metrics. No label contains an account or an event id."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from itertools import accumulate
from threading import Lock
from typing import Final, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

T = TypeVar("T", bound=Collector)

_NAMESPACE: Final = "broker_events"
_LATENCY_S: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_DURATION_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SIZES: Final = (1, 10, 100, 500, 1000, 2000, 5000, 10_000, 20_000)


disable_created_metrics()  # type: ignore[no-untyped-call] # one more series per counter, which nothing reads


class Latency(Collector):
    """A histogram of seconds that takes many values at once, with one addition per bucket instead of one per value."""

    def __init__(self, name: str, text: str, registry: CollectorRegistry) -> None:
        self._name, self._text = name, text
        self._lock = Lock()
        self._counts = [0] * (len(_LATENCY_S) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe_all(self, seconds: Sequence[float]) -> None:
        found = Counts(bisect_left(_LATENCY_S, value) for value in seconds)
        with self._lock:
            self._sum += sum(seconds)
            for place, count in found.items():
                self._counts[place] += count

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            counts, total = list(accumulate(self._counts)), self._sum
        bounds = (*(str(float(bound)) for bound in _LATENCY_S), "+Inf")
        yield HistogramMetricFamily(self._name, self._text, list(zip(bounds, counts, strict=True)), total)


class Metrics:
    """The metrics of one process, in their own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

        self._worker = Info("worker", "Role, instance id and version", namespace=_NAMESPACE, registry=self.registry)

        self._section: list[Collector] = []  # what the next method makes
        self._every_worker()
        makers = {
            "bridge": self._bridge,
            "router": self._router,
            "projector": self._projector,
            "deliver": self._deliver,
            "lake": self._lake,
            "console": self._console,
        }
        self._of_role = {role: self._made_by(make) for role, make in makers.items()}

    def identify(self, role: str, instance_id: str) -> None:
        """Set the worker's role (`bridge`, `import`, `router`, `projector`, `deliver`, `lake` or `console`) and id.

        The metrics of other roles are no longer served: `connected 0` of a projector would say something.
        """
        self._worker.info({"role": role, "instance_id": instance_id, "version": version("broker-events")})
        for other in self._of_role.keys() - {"bridge" if role == "import" else role}:
            for collector in self._of_role[other]:
                self.registry.unregister(collector)

    def _made_by(self, make: Callable[[], None]) -> list[Collector]:
        self._section = []
        make()
        return self._section

    def _bridge(self) -> None:
        self.received = self._counter("received", "Messages received from the push", "event_type", "biz_type")
        self.received_bytes = self._counter("received_bytes", "Payload bytes received from the push")
        self.oversized = self._counter("oversized", "Events replaced by a marker for their size", "event_type")
        self.reconnects = self._counter("reconnects", "Streams to the push that ended, by reason", "reason")
        self.connected = self._gauge("connected", "1 while a stream to the push is open")
        self.last_message = self._gauge(
            "last_message_timestamp_seconds",
            "Time of the push's last message; before the first, the bridge's start",
        )
        self.last_event = self._gauge(
            "last_event_timestamp_seconds", "Time of the push's last event; 0 before the first"
        )
        self.cursor = self._gauge("cursor_timestamp_seconds", "Time at which the cursor last moved", "event_type")
        self.push_to_raw = self._latency("push_to_raw_seconds", "Time from receipt to commit in the raw topic")

    def _router(self) -> None:
        self.routed = self._counter("routed", "Events written to a typed topic", "biz_type")
        self.duplicates = self._counter("duplicates", "Events pushed again with the same content", "biz_type")
        self.without_account_id = self._counter(
            "without_account_id", "Events keyed by a substitute for the account id", "biz_type"
        )
        self.duplicate_keys = self._counter(
            "duplicate_keys", "JSON members overwritten by a later one of the same name"
        )
        self.raw_to_typed = self._latency("raw_to_typed_seconds", "Time from receipt to commit in a typed topic")

    def _projector(self) -> None:
        self.projected = self._counter("projected", "Typed events applied to state", "biz_type")
        self.stale = self._counter("stale", "Events older than the state, which keeps its newer values", "biz_type")
        self.clock_ahead = self._counter(
            "clock_ahead", "Events stamped more than MAX_CLOCK_SKEW_S later than they were received", "biz_type"
        )
        self.unknown_values = self._counter(
            "unknown_values", "Events with a status, code or id that no document names", "biz_type"
        )
        self.illegal_transitions = self._counter(
            "illegal_transitions", "Status changes that no document allows", "biz_type"
        )
        self.merged_movements = self._counter(
            "merged_movements", "Movements merged because an event has ids of both", "biz_type"
        )
        self.alerted_twice = self._counter(
            "alerted_twice", "Merged movements that had each raised an alert before", "biz_type"
        )
        self.id_conflicts = self._counter("id_conflicts", "Movements with two ids of one kind", "biz_type")
        self.alerts = self._counter("alerts", "Alerts written", "rule", "status")
        self.active_alerts = self._gauge("active_alerts", "Conditions that hold, in the assigned partitions", "rule")
        self.restore_left = self._gauge("restore_left_offsets", "Offsets that a running restore has yet to read")
        self.store_bytes = self._gauge("store_bytes", "Bytes of this worker's stores in STATE_FOLDER")
        self.store_free_bytes = self._gauge("store_free_bytes", "Free bytes of the disk of STATE_FOLDER")
        self.store_disk_bytes = self._gauge("store_disk_bytes", "Size of the disk of STATE_FOLDER")
        self.store_written = self._gauge(
            "store_written_timestamp_seconds", "Time of the last write to a store: the age of the newest checkpoint"
        )
        self.store_reads = self._counter("store_reads", "Values and index entries looked up on disk, not in memory")
        self.typed_to_alert = self._latency(
            "typed_to_alert_seconds", "Time from the projector's read to the alert's commit"
        )
        self.push_to_alert = self._latency(
            "push_to_alert_seconds", "Time from receipt by the bridge to the alert's commit"
        )

    def _every_worker(self) -> None:
        self.ready = self._gauge("ready", "1 while /ready answers 200")
        self.quarantined = self._counter("quarantined", "Quarantined records", "stage", "reason", "biz_type")
        self.quarantine_limit_exceeded = self._gauge(
            "quarantine_limit_exceeded", "1 while quarantine exceeds the QUARANTINE_LIMIT settings"
        )
        self.quarantine_oldest = self._gauge(
            "quarantine_oldest_timestamp_seconds",
            "Time of the oldest quarantined record that a replay may type and nobody has replayed; 0: none",
        )
        self.consumed = self._counter("consumed", "Records consumed", "topic")
        self.consumed_bytes = self._counter("consumed_bytes", "Bytes of the values of records consumed", "topic")
        self.transactions = self._counter("transactions", "Transactions, by result", "result")
        for result in ("committed", "failed"):  # a rate needs an initial 0
            self.transactions.labels(result)
        self.transaction_seconds = self._duration(
            "transaction_seconds", "Time from the begin of a transaction to its commit"
        )
        self.commit_seconds = self._duration("commit_seconds", "Time to commit a transaction")
        self.batch_records = Histogram(
            "batch_records", "Records in a batch", namespace=_NAMESPACE, buckets=_SIZES, registry=self.registry
        )
        self.lag_records = self._gauge(
            "lag_records",
            "Offsets behind the end, including markers",
            "topic",
            "partition",
        )
        self.lag_seconds = self._gauge("lag_seconds", "Age of the oldest unread record", "topic")
        self.assigned = self._gauge("assigned_partitions", "Partitions assigned to this worker")
        self.rebalances = self._counter("rebalances", "Changes of the partitions assigned to this worker", "kind")
        self.restored = self._counter("restored_records", "Records read to restore state", "table")
        self.restore_seconds = self._duration("restore_seconds", "Time to restore state after an assignment")

    def _made(self, metric: T) -> T:
        self._section.append(metric)
        return metric

    def _deliver(self) -> None:
        self.deliveries = self._counter("deliveries", "Alerts with a final outcome", "receiver", "outcome")
        self.delivery_retries = self._counter(
            "delivery_retries", "Requests after the first one of an alert", "receiver"
        )
        self.delivery_oldest = self._gauge(
            "delivery_oldest_seconds", "Age of the oldest alert that was read and has no outcome; 0: none", "receiver"
        )
        self.delivery_waiting = self._gauge("delivery_waiting", "Alerts that were read and have no outcome", "receiver")
        self.delivery_lag = self._gauge(
            "delivery_lag_records", "Offsets of alerts not read yet, including markers", "receiver"
        )
        self.receiver_failing = self._gauge(
            "receiver_failing", "1 while the receiver is unreachable, busy or not ready", "receiver"
        )
        self.alert_to_delivery = self._latency(
            "alert_to_delivery_seconds", "Time from the alert's record to the receiver's acceptance"
        )

    def _lake(self) -> None:
        self.lake_rows = self._counter("lake_rows", "Rows committed to a lake table", "table")
        self.lake_commits = self._counter("lake_commits", "Commits of a lake table, by result", "table", "result")
        self.lake_commit_seconds = self._made(
            self._duration("lake_commit_seconds", "Time to decode, write and commit the records of one lake table")
        )
        self.lake_freshness = self._gauge(
            "lake_freshness_seconds", "How long the oldest record that was read waits for its commit", "table"
        )
        self.lake_epoch = self._gauge("lake_epoch", "Epoch with which this worker owns a lake table", "table")
        self.lake_stopped = self._gauge(
            "lake_table_stopped", "1 while a lake table has stopped at a record that it can't take", "table"
        )

    def _console(self) -> None:
        self.console_requests = self._counter("console_requests", "Requests to the console", "kind", "status")
        self.console_seconds = self._made(
            self._duration("console_request_seconds", "Time to answer a request to the console")
        )
        self.console_behind = self._gauge(
            "console_behind_seconds", "Age of the oldest record that the console lacks; -1 before Kafka's first reply"
        )
        self.console_unread = self._gauge("console_unread_records", "Offsets that the console has not read yet")
        self.console_store_bytes = self._gauge("console_store_bytes", "Size of the console's tables on disk")
        self.console_audit_waiting = self._gauge(
            "console_audit_waiting", "Looks that are not in the topic console.audit yet"
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return self._made(Counter(name, text, labels, namespace=_NAMESPACE, registry=self.registry))

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return self._made(Gauge(name, text, labels, namespace=_NAMESPACE, registry=self.registry))

    def _latency(self, name: str, text: str) -> Latency:
        return self._made(Latency(f"{_NAMESPACE}_{name}", text, self.registry))

    def _duration(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, namespace=_NAMESPACE, buckets=_DURATION_S, registry=self.registry)
