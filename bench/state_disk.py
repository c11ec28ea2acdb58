"""What state on disk costs without Kafka: `python -m bench.state_disk --records 20000000 --memory-mb 512`.

The tables of a projector are filled as by a restore, closed, opened again, and updated in transactions of 2,000 random
keys: all keys, then a hot set of 100,000. The same is done in memory. A fold of an event costs 16 us on top of it.
"""

from __future__ import annotations

import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any, Final
from unittest.mock import Mock

import click

from bench.state import first_state
from broker_events.devstack.simulator.account_traffic import Account
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.settings import Settings
from broker_events.runtime.state.partition_store import StoreIdentity
from broker_events.runtime.state.state_folder import StateFolder
from broker_events.runtime.state.state_tables import StateTables, TableKind
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.codec import Codec
from broker_events.schemas.storage_types import AccountState

TABLE: Final = "state.accounts"
PARTITIONS: Final = 8
BATCH: Final = 2000
HOT: Final = 100_000
LIMIT: Final = 1_000_000
ID: Final = "#" * 26


class Tables(StateTables):
    """State tables whose topics are empty, so that no Kafka is needed."""

    def _open_stores(self, folder: StateFolder, numbers: list[int]) -> None:
        identity = StoreIdentity("bench", "bench", PARTITIONS, {f"bench.{TABLE}": "id"})
        for number in numbers:
            self._stores[number] = folder.open(number, identity)
            self._stores[number].refusal = None

    def _read(self, starts: Mapping[TopicPartition, int]) -> dict[str, int]:
        self._next |= starts
        return {}

    def fill(self, records: int, value: bytes) -> float:
        """Enter records as a restore does; return the seconds."""
        began = time.monotonic()
        starts = [TopicPartition(f"bench.{TABLE}", number) for number in range(PARTITIONS)]
        for number in range(records):
            self.states[TABLE][number % PARTITIONS].restore(key_of(number), value.replace(ID.encode(), key_of(number)))
            if number % 10_000 == 0 and self._folder is not None and self._is_much():
                self._write()
        self._index(dict.fromkeys(starts, 0))
        self._write()
        return time.monotonic() - began


def key_of(number: int) -> bytes:
    return b"%026d" % number


def updates(tables: Tables, random: Random, keys: int, count: int) -> tuple[float, float]:
    """Read and replace random records; return wall and CPU time per record, microseconds."""
    transaction: Any = Mock()
    states = tables.states[TABLE]
    began, cpu = time.monotonic(), time.process_time()
    for done in range(count):
        number = random.randrange(keys)
        of, key = states[number % PARTITIONS], key_of(number)
        record = of.get(key)
        of.put(key, {**record, "event_id": f"event_{done}"}, [], growth=1000, limit=LIMIT)
        if done % BATCH == BATCH - 1:
            for each in states.values():  # what `flush` does, without a producer
                each.settle()
            tables.committed(transaction)
    return (time.monotonic() - began) / count * 1e6, (time.process_time() - cpu) / count * 1e6


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


@click.command()
@click.option("--records", type=int, default=2_000_000, show_default=True)
@click.option("--memory-mb", type=int, default=256, show_default=True)
@click.option("--updates", "count", type=int, default=400_000, show_default=True)
@click.option("--in-memory", is_flag=True, help="Without a store, to compare with.")
def main(records: int, memory_mb: int, count: int, in_memory: bool) -> None:  # noqa: FBT001 (click passes flags by name)
    """Measure state on disk: fill, restart, uniform and hot updates."""
    schema = load_catalog().topics[TABLE][0]
    codec: Codec[AccountState] = Codec(schema, 1)
    value = codec.encode(first_state(Account(ID, "1234567890", "CASH"), codec))
    folder = Path(tempfile.mkdtemp(prefix="bench-state-"))
    place = None if in_memory else folder
    settings = Settings(topic_prefix="bench", partitions=PARTITIONS, state_folder=place, state_memory_mb=memory_mb)
    random = Random(1)  # noqa: S311 (reproducible on purpose)

    def opened() -> Tables:
        tables = Tables(settings, "projector", {TABLE: TableKind(codec)}, Metrics(), threading.Event())
        tables.restore(set(range(PARTITIONS)), set())
        return tables

    try:
        tables = opened()
        cpu = time.process_time()
        took_s = tables.fill(records, value)
        cpu = (time.process_time() - cpu) / records * 1e6
        speed = f"{records / took_s:,.0f} records/s, {cpu:.1f} us of CPU each"
        click.echo(f"{records:,} records of {len(value)} bytes: filled at {speed}")
        if not in_memory:
            tables.close()
            del tables
            began = time.monotonic()
            tables = opened()
            click.echo(f"opened again in {time.monotonic() - began:.2f} s")
        for name, keys in (("uniform", records), (f"hot set of {HOT:,}", min(HOT, records))):
            updates(tables, random, keys, min(4 * keys, 4 * HOT))  # fills the caches
            wall, cpu = updates(tables, random, keys, count)
            click.echo(f"{name}: {wall:.1f} us, {cpu:.1f} us of CPU per update; {resident_mb():,.0f} MB resident")
        tables.close()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
