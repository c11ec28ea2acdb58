"""The lake's tables: one per topic that other teams read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.schemas.catalog import RAW, Catalog, Contract

QUARANTINE_TABLE: Final = "quarantine"
_EVENT: Final = "event."
_STATE: Final = "state."
_PLAIN: Final = (RAW, "alerts", "quarantine")


class Kind(StrEnum):
    """What the rows of a table are."""

    RAW = "raw"  # bytes as received, with headers
    EVENT = "event"  # typed events
    RECORD = "record"  # other Avro records
    CHANGE = "change"  # every version of a key of a compacted topic, tombstones too


@dataclass(frozen=True, slots=True)
class LakeTable:
    """A table, and the topic (catalog name) that fills it."""

    name: str
    topic: str
    kind: Kind
    contract: Contract


def lake_tables(catalog: Catalog) -> Mapping[str, LakeTable]:
    """Return all tables by name: raw, one per event type, alerts, quarantine, and the changes of each state topic."""
    tables = {}
    for topic, (contract, _) in catalog.topics.items():
        if topic.startswith(_EVENT):
            kind, name = Kind.EVENT, topic
        elif topic.startswith(_STATE):
            kind, name = Kind.CHANGE, f"{topic}_changes"
        elif topic in _PLAIN:
            kind, name = Kind.RAW if topic == RAW else Kind.RECORD, topic
        else:
            continue
        name = name.replace(".", "_").replace("-", "_")
        tables[name] = LakeTable(name, topic, kind, contract)
    return tables


def chosen_tables(catalog: Catalog, names: Sequence[str]) -> list[LakeTable]:
    """Return the tables of these names, all for none. Raises OperatorActionRequired for an unknown name."""
    tables = lake_tables(catalog)
    if unknown := [name for name in names if name not in tables]:
        raise OperatorActionRequired(
            f"PIPELINE_LAKE_TABLES: no such table: {', '.join(unknown)}. Tables: {', '.join(tables)}"
        )
    return [tables[name] for name in names or tables]
