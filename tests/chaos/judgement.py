"""Reads and judges all that a pipeline wrote: partition by partition, several at a time."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from evidence import Decoder, read_partition
from journal import Journal
from oracle import Findings, conclude, examine
from violations import Report

from broker_events.runtime.settings import Settings


def judge(
    clients: dict[str, Any],
    settings: Settings,
    journal: Path,
    repeats: int,
    say: Callable[[str], None],
    processes: int = 1,
) -> Report:
    """Compare what was written with the journal of what was pushed; `repeats` is how often the broker repeated itself.

    `clients`: librdkafka settings that reach the cluster. `say` takes one line for each partition.
    """
    began = time.monotonic()
    look_at = partial(_examine, clients, settings.topic_prefix, journal)
    numbers = range(settings.partitions)
    told = Journal(journal)

    def findings(found: Iterator[Findings]) -> Iterator[Findings]:
        for each in found:
            compared = each.report.compared
            say(
                f"judged partition {each.partition + 1} of {len(numbers)}: {compared['events']:,} events, "
                f"{each.report.counters.total()} violations ({time.monotonic() - began:.0f} s)"
            )
            yield each

    try:
        if processes == 1:
            return conclude(told, findings(map(look_at, numbers)), repeats)
        # Not forked: librdkafka's threads of this process would be missing in the others.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, context, max_tasks_per_child=1) as pool:
            return conclude(told, findings(pool.map(look_at, numbers)), repeats)
    finally:
        told.close()


def _examine(clients: dict[str, Any], prefix: str, path: Path, partition: int) -> Findings:
    journal = Journal(path)
    try:
        return examine(journal, prefix, read_partition(clients, prefix, partition, Decoder()))
    finally:
        journal.close()
