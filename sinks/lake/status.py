"""What `lake status` shows of each table."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.kafka.topic_reader import end_offsets
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import load_catalog
from broker_events.sinks.lake.iceberg.store import Lake
from broker_events.sinks.lake.tables import chosen_tables


def table_rows(settings: Settings) -> Iterator[list[str]]:
    """Yield name, epoch, rows, offsets behind the topic, snapshots, files, time of the last commit and owner."""
    lake = Lake(settings)
    for table in chosen_tables(load_catalog(), settings.lake_tables):
        store = lake.table(table.name)
        ledger = store.ledger()
        if ledger is None:
            yield [table.name, "-", "0", "-", "0", "0", "never", "nobody"]
            continue
        ends = end_offsets(settings, [TopicPartition(ledger.topic, partition) for partition in ledger.offsets])
        behind = sum(max(end - ledger.offsets[tp.partition], 0) for tp, end in ends.items())
        head = store.handle.current_snapshot()
        summary = {} if head is None or head.summary is None else head.summary.additional_properties
        at = (
            "never" if head is None else datetime.fromtimestamp(head.timestamp_ms / 1000, UTC).isoformat("T", "seconds")
        )
        yield [
            table.name,
            str(ledger.epoch),
            f"{sum(ledger.rows.values()):,}",
            f"{behind:,}",
            str(len(store.handle.metadata.snapshots)),
            summary.get("total-data-files", "0"),
            at,
            ledger.owner,
        ]
