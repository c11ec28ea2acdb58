"""`broker-events ledger`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from broker_events.cli.output import aligned, json_line, reader_may_leave, write_lines
from broker_events.cli.partitions import choosing_partitions, chosen_partitions
from broker_events.cli.time_arguments import EXAMPLES, moment_ms

if TYPE_CHECKING:
    from broker_events.audit.verdict import Verdict
    from broker_events.runtime.consume.record import TopicPartition
    from broker_events.runtime.settings import Settings

_COLUMNS: Final = ("partition", "from", "to", "raw", "typed", "quarantined", "duplicates", "expired", "difference")


@click.command("ledger")
@choosing_partitions
@click.option(
    "--from", "start", metavar="WHERE", help=f"An offset, {EXAMPLES}."
    "  [default: the oldest raw record]",
)  # fmt: skip
@click.option("--to", "end", metavar="WHERE", help="The same; not itself included.  [default: all that is routed]")
@click.option("--deep", is_flag=True, help="Make every typed value anew from its raw event and compare the bytes.")
@click.option(
    "--processes", type=click.IntRange(min=1), help="How many partitions to read at a time.  [default: one a CPU]"
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document a partition and discrepancy.")
def command(
    *, numbers: tuple[int, ...], start: str | None, end: str | None, deep: bool, processes: int | None, as_json: bool
) -> None:
    """Prove from the topics that every raw record is exactly one of: typed, quarantined, known duplicate.

    It runs beside the pipeline: a partition is judged up to the offset that the routers have committed. A duplicate
    repeats a typed record before it. A record without an output that retention may have deleted is "expired": not
    proved, and the last line says how many they are.

    \b
    What can be wrong:
      lost       no output, and no typed record before it that it repeats
      unknown    lost, or it repeats a record from too long before --from to tell: run it without, or from earlier on
      doubled    two outputs
      repeated   typed, though one of its id was, among the DUPLICATE_WINDOW records before it (set as for the routers)
      foreign    an output that names no raw record, or is in a topic that is not its type's
      altered    event id, key or timestamp are not the raw record's; with --deep, the value, by the schema that
                 wrote it, or that schema has another type for a field than this version reads

    Exit codes: 0 reconciled, whatever is expired; 1 not, and the offsets are listed, the first hundred of each kind and
    partition; 2 where nothing can be judged. Memory: 26 bytes an offset of the partitions that are read at a time.

    \b
    Examples:
      broker-events ledger
      broker-events ledger --partition 3 --from "2h ago" --deep
      broker-events ledger --json | jq -c 'select(.raw_offset)'
    """
    from broker_events.audit.ledger import audit_ranges, settled_ranges
    from broker_events.runtime.process.logs import configure_logging
    from broker_events.runtime.settings import load_settings
    from broker_events.schemas.catalog import RAW

    settings = load_settings()
    configure_logging(settings, "ledger")
    chosen = chosen_partitions(settings, settings.topic(RAW), numbers)
    starts, ends = _offsets(settings, chosen, start, "--from"), _offsets(settings, chosen, end, "--to")
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
    settings: Settings, partitions: list[TopicPartition], where: str | None, option: str
) -> dict[TopicPartition, int] | None:
    from broker_events.runtime.kafka.topic_reader import offsets_at

    if where is None or where.isdecimal():
        return None if where is None else dict.fromkeys(partitions, int(where))
    try:
        time_ms = moment_ms(where)
    except ValueError:
        raise click.BadParameter(f"{where!r} is none of an offset, {EXAMPLES}", param_hint=option) from None
    return offsets_at(settings, partitions, time_ms)


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
