"""`broker-events ledger`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from broker_events.cli.output import aligned, reader_may_leave, write_lines
from broker_events.cli.partitions import choosing_partitions, chosen_partitions
from broker_events.cli.time_arguments import EXAMPLES, moment_ms
from broker_events.runtime.events.record_json import json_line

if TYPE_CHECKING:
    from broker_events.audit.verdict import Verdict
    from broker_events.runtime.consume.record import TopicPartition
    from broker_events.runtime.settings import Settings

_COLUMNS: Final = ("partition", "from", "to", "raw", "typed", "quarantined", "duplicates", "expired", "difference")


def _place(_context: click.Context, parameter: click.Parameter, where: str | None) -> tuple[str, int] | None:
    """Return `offset` or `time` (ms since the epoch) with its value."""
    if where is None:
        return None
    if where.isdecimal():
        return "offset", int(where)
    try:
        return "time", moment_ms(where)
    except ValueError:
        raise click.BadParameter(f"{where!r} is none of an offset, {EXAMPLES}", param=parameter) from None


@click.command("ledger")
@choosing_partitions
@click.option(
    "--from", "start", metavar="WHERE", callback=_place, help=f"Start at: an offset, {EXAMPLES}."
    "  [default: the oldest raw record]",
)  # fmt: skip
@click.option(
    "--to", "end", metavar="WHERE", callback=_place, help="End before: the same forms.  [default: the committed offset]"
)
@click.option("--deep", is_flag=True, help="Also recompute every typed value and compare the bytes.")
@click.option("--processes", type=click.IntRange(min=1), help="Partitions to read in parallel.  [default: one per CPU]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document per partition and discrepancy.")
def command(
    *,
    numbers: tuple[int, ...],
    start: tuple[str, int] | None,
    end: tuple[str, int] | None,
    deep: bool,
    processes: int | None,
    as_json: bool,
) -> None:
    """Verify that no event is lost, doubled or altered.

    Reads raw, the typed topics and quarantine up to the routers' committed offsets, also while the pipeline runs.
    Every raw record must be exactly one of: typed, quarantined, duplicate of a typed record. "expired" counts records
    whose output retention may have deleted: they are not proved. It writes nothing.

    \b
    Discrepancies:
      lost       no output, and no earlier typed record that it repeats
      unknown    lost, or a repetition of a record too long before --from: start earlier or without --from
      doubled    two outputs
      repeated   typed, though one of the DUPLICATE_WINDOW records before it has the same id
      foreign    an output without a raw record, or in the topic of another type
      altered    event id, key or timestamp differ from the raw record; with --deep also the value

    Exit codes: 0 reconciled, 1 not: offsets are listed, at most 100 per kind and partition, 2 nothing can be judged.
    Memory: 26 bytes per offset of the partitions read in parallel.

    \b
    Examples:
      broker-events ledger
      broker-events ledger --partition 3 --from "2h ago" --deep
      broker-events ledger --json | jq -c 'select(.raw_offset)'
    """
    from broker_events.audit.ledger import audit_ranges, settled_ranges
    from broker_events.runtime.kafka.clients import answering
    from broker_events.runtime.process.logs import configure_logging
    from broker_events.runtime.settings import load_settings
    from broker_events.schemas.catalog import RAW

    if start and end and start[0] == end[0] and start[1] >= end[1]:
        raise click.UsageError("--from must come before --to; nothing lies between them")
    settings = load_settings()
    configure_logging(settings, "ledger")
    answering(settings)
    chosen = chosen_partitions(settings, settings.topic(RAW), numbers)
    starts, ends = _offsets(settings, chosen, start), _offsets(settings, chosen, end)
    ranges = settled_ranges(settings, chosen, starts, ends)
    verdicts = []
    with reader_may_leave():
        for verdict in audit_ranges(settings, ranges, processes or os.cpu_count() or 1, deep=deep):
            verdicts.append(verdict)
            if as_json:
                write_lines(_documents(verdict))
        if not as_json:
            write_lines(_report(verdicts))
    sys.exit(0 if all(verdict.is_reconciled for verdict in verdicts) else 1)


def _offsets(
    settings: Settings, partitions: list[TopicPartition], where: tuple[str, int] | None
) -> dict[TopicPartition, int] | None:
    from broker_events.runtime.kafka.topic_reader import offsets_at

    if where is None:
        return None
    kind, value = where
    return dict.fromkeys(partitions, value) if kind == "offset" else offsets_at(settings, partitions, value)


def _documents(verdict: Verdict) -> Iterator[str]:
    counts = ("raw", "typed", "quarantined", "duplicates", "expired")
    document = {name: getattr(verdict, name) for name in ("partition", "start", "end", *counts)}
    yield json_line(document | {"reconciled": verdict.is_reconciled, "discrepancies": verdict.discrepancies})
    for kind, raw_offset, output in verdict.listed:
        yield json_line({"kind": kind, "partition": verdict.partition, "raw_offset": raw_offset, "output": output})


def _report(verdicts: list[Verdict]) -> Iterator[str]:
    """A row a partition and one of sums, then every discrepancy listed, then the conclusion."""
    rows = [
        [
            b.partition,
            b.start,
            b.end,
            b.raw,
            b.typed,
            b.quarantined,
            b.duplicates,
            b.expired,
            sum(b.discrepancies.values()),
        ]
        for b in verdicts
    ]
    sums = ["all", "", "", *(sum(column) for column in list(zip(*rows, strict=True))[3:])]
    cells = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in (*rows, sums)]
    yield from aligned((_COLUMNS, *cells), str.rjust)
    for verdict in verdicts:
        yield from _discrepancies(verdict)
    yield _conclusion(verdicts)


def _conclusion(verdicts: list[Verdict]) -> str:
    if not all(verdict.is_reconciled for verdict in verdicts):
        return "NOT RECONCILED"
    expired = sum(verdict.expired for verdict in verdicts)
    return f"reconciled, {expired:,} not proved (outputs that retention may have deleted)" if expired else "reconciled"


def _discrepancies(verdict: Verdict) -> Iterator[str]:
    for kind, count in verdict.discrepancies.items():
        listed = [(raw_offset, output) for of, raw_offset, output in verdict.listed if of is kind]
        for raw_offset, output in listed:
            source = "?" if raw_offset is None else f"raw[{verdict.partition}]@{raw_offset}"
            yield f"{kind}  {source}{f'  {output}' if output else ''}"
        if count > len(listed):
            yield f"{kind}  and {count - len(listed):,} more in partition {verdict.partition}"
