"""The bridge's metrics, collected per transaction: a labelled counter is too expensive per event."""

import time
from collections import Counter
from collections.abc import Iterable
from typing import Final

from broker_events.ingest.raw_record import RawRecord
from broker_events.ingest.sources.source import Received
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import Catalog

OTHER: Final = "other"


class IntakeMetrics:
    """Counts received events and measures transactions. The catalog bounds the label values."""

    def __init__(self, metrics: Metrics, catalog: Catalog, settings: Settings) -> None:
        self._metrics = metrics
        self._biz_types = frozenset(catalog.events)
        documented = {contract.event_type for contract in catalog.events.values()}
        self._event_types = frozenset({*documented, *settings.grpc_event_types})
        self._events: Counter[tuple[str, str]] = Counter()
        self._bytes = 0
        self._times: list[int] = []

    def received(self, record: RawRecord, received: Received) -> None:
        self._events[record.event_type, record.biz_type] += 1
        self._bytes += len(received.payload)
        self._times.append(received.received_at)

    def oversized(self, marker: RawRecord) -> None:
        self._metrics.oversized.labels(self._event_type(marker.event_type)).inc()

    def committed(self, streams: Iterable[str], filled_s: float, commit_s: float) -> int:
        """Record the commit of all received events, and return their number.

        The transaction was open for `filled_s`, and its commit took `commit_s`. `streams`: those whose cursor moved.
        """
        metrics, count, now_s = self._metrics, len(self._times), time.time()
        for (event_type, biz_type), events in self._events.items():
            known_biz_type = biz_type if biz_type in self._biz_types else OTHER
            metrics.received.labels(self._event_type(event_type), known_biz_type).inc(events)
        metrics.received_bytes.inc(self._bytes)
        metrics.push_to_raw.observe_all([now_s - received_at / 1e6 for received_at in self._times])
        for stream in streams:
            metrics.cursor.labels(self._event_type(stream)).set(now_s)
        metrics.transactions.labels("committed").inc()
        metrics.transaction_seconds.observe(filled_s + commit_s)
        metrics.commit_seconds.observe(commit_s)
        self._events.clear()
        self._times.clear()
        self._bytes = 0
        return count

    def failed(self) -> None:
        """Record a transaction that didn't commit."""
        self._metrics.transactions.labels("failed").inc()

    def _event_type(self, name: str) -> str:
        return name if name in self._event_types else OTHER
