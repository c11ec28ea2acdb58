"""`broker-events rebuild`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from broker_events.cli.missing_alerts import emit_alerts, unfolded_lines
from broker_events.cli.output import aligned, plural, printable, reader_may_leave, write_lines
from broker_events.cli.partitions import choosing_partitions, chosen_partitions
from broker_events.runtime.events.record_json import json_line, text_or_base64

if TYPE_CHECKING:
    from broker_events.audit.rebuild import Unfolded
    from broker_events.audit.state_diff import Comparison

_COLUMNS: Final = ("table", "partition", "equal", "missing", "extra", "different", "moving", "unjudged")
_LISTED: Final = 100
_NO_ALERTS: Final = "no alert was written: look with --emit-alerts for those that are missing"


@click.command("rebuild")
@choosing_partitions
@click.option("--apply", "is_applied", is_flag=True, help="Write the differences. Fails while a projector runs.")
@click.option(
    "--delete-extra",
    is_flag=True,
    help="With --apply: also delete extra keys. Use it only if the typed topics still hold all events.",
)
@click.option(
    "--emit-alerts",
    "emits_alerts",
    is_flag=True,
    help="Instead of the tables, show the alerts missing from the topic alerts; with --apply write them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document per table, partition and difference.")
def command(
    *, numbers: tuple[int, ...], is_applied: bool, delete_extra: bool, emits_alerts: bool, as_json: bool
) -> None:
    """Recompute the state tables, compare them and repair them.

    Reads the typed topics up to the projectors' committed offsets and computes state.accounts, state.movements and
    alerts.active by the projector's rules. Without --apply it writes nothing, and the pipeline may run.

    A key that changed during the read is "moving". A key whose events retention has deleted is "unjudged" and never
    repaired. A key without any event is "extra": copied from another pipeline, or not deleted when it should have been.
    It is kept unless --delete-extra is given. An event that this version cannot apply, and that no projector has
    quarantined, is "unfolded"; --apply then writes nothing for its partition.

    A repair writes state and no alerts. --emit-alerts compares the alerts that the events raise by this version's
    rules with the topic alerts. A transition that a projector alerted under another event is not missing. With --apply
    it writes the missing ones, with the headers recovery_id and recovered_by (OS user and host), and updates
    alerts.active where the condition still holds. Repair the tables first.

    Exit codes: 0 equal or repaired; 1 different, extra keys kept, alerts missing, or events unfolded; 2 a projector
    runs, its group has no offsets, or --apply with unfolded events. At most 100 keys per table and partition are
    listed. Memory: twice the tables of one partition.

    \b
    Examples:
      broker-events rebuild
      broker-events rebuild --partition 3 --json | jq -r 'select(.verdict == "different") | .key'
      broker-events rebuild --apply
      broker-events rebuild --apply --delete-extra
      broker-events rebuild --emit-alerts --apply
    """
    from broker_events.audit.rebuild import Rebuild, refuse_unfolded
    from broker_events.audit.repair import Repair
    from broker_events.audit.state_diff import DifferenceKind
    from broker_events.processors.projector import TABLES
    from broker_events.runtime.kafka.clients import answering
    from broker_events.runtime.process.logs import configure_logging
    from broker_events.runtime.settings import load_settings

    if delete_extra and not is_applied:
        raise click.UsageError("--delete-extra needs --apply")
    if delete_extra and emits_alerts:
        raise click.UsageError("--emit-alerts deletes nothing: leave out --delete-extra")
    settings = load_settings()
    configure_logging(settings, "rebuild")
    answering(settings)
    chosen = chosen_partitions(settings, settings.topic(TABLES[0]), numbers)
    repair = Repair(settings) if is_applied else None
    rebuild = Rebuild(settings)
    if emits_alerts:
        sys.exit(emit_alerts(rebuild, repair, chosen, as_json=as_json))
    found, unfolded, differing, repaired = [], [], 0, 0
    for tp in chosen:
        comparisons, left_out, offsets = rebuild.compare(tp.partition)
        findings = [finding for comparison in comparisons for finding in comparison.findings]
        unfolded += left_out
        if repair is not None:
            refuse_unfolded(left_out)
            wanted = (each for each in findings if delete_extra or each.kind is not DifferenceKind.EXTRA)
            outputs = (rebuild.output(each.table, each.partition, each.key, each.value) for each in wanted)
            repaired += repair.write(outputs, offsets)
        found += comparisons
        differing += len(findings)
    with reader_may_leave():
        write_lines(_documents(found, unfolded) if as_json else report(found, unfolded, repaired))
        if repair is not None:
            for line in _outcome(repaired, differing - repaired):
                click.echo(line, err=as_json)
    sys.exit(1 if differing > repaired or unfolded else 0)


def _outcome(repaired: int, extra: int) -> Iterator[str]:
    """What a repair has done, and what it has not."""
    yield f"{repaired:,} {plural('record', repaired)} written"
    if repaired:
        yield _NO_ALERTS
    if extra:
        yield f"{extra:,} extra {plural('key', extra)} left alone; see --delete-extra"


def _row(comparison: Comparison) -> dict[str, str | int]:
    from broker_events.audit.state_diff import DifferenceKind

    kinds = [finding.kind for finding in comparison.findings]
    return {
        "table": comparison.table,
        "partition": comparison.partition,
        "equal": comparison.equal,
        **{kind.value: kinds.count(kind) for kind in DifferenceKind},
        "moving": comparison.moving,
        "unjudged": comparison.unjudged,
    }


def _documents(found: list[Comparison], unfolded: list[Unfolded]) -> Iterator[str]:
    for comparison in found:
        yield json_line(_row(comparison))
        for finding in comparison.findings:
            key = text_or_base64(finding.key)
            names = {"table": finding.table, "partition": finding.partition, "key": key}
            yield json_line(names | {"verdict": finding.kind, "fields": finding.fields})
    for event in unfolded:
        yield json_line({"verdict": "unfolded", **event._asdict()})


def report(found: list[Comparison], unfolded: list[Unfolded], repaired: int) -> Iterator[str]:
    """Yield one row per table and partition, the differing keys, the events left out, and the verdict.

    `repaired`: number of keys repaired.
    """
    cells = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in _row(each).values()] for each in found]
    yield from aligned((_COLUMNS, *cells), str.rjust)
    for comparison in found:
        for finding in comparison.findings[:_LISTED]:
            key = printable(finding.key.decode(errors="backslashreplace"))
            fields = ", ".join(finding.fields)
            yield f"{finding.kind}  {finding.table}[{finding.partition}]  {key}  {fields}".rstrip()
        if len(comparison.findings) > _LISTED:
            yield f"{len(comparison.findings) - _LISTED:,} more in {comparison.table}[{comparison.partition}]"
    yield from unfolded_lines(unfolded)
    yield _verdict(found, unfolded, repaired)


def _verdict(found: list[Comparison], unfolded: list[Unfolded], repaired: int) -> str:
    """What is so now, and of how many keys that isn't said."""
    differing = sum(len(comparison.findings) for comparison in found)
    if unfolded:
        return f"UNKNOWN: {len(unfolded):,} {plural('event', len(unfolded))} left out"
    if not differing:
        verdict = "equal"
    elif repaired == differing:
        verdict = f"repaired: {repaired:,} {plural('key', repaired)}"
    else:
        left = differing - repaired
        verdict = f"DIFFERENT: {left:,} {plural('key', left)}" + (f", {repaired:,} more repaired" if repaired else "")
    unjudged = sum(comparison.unjudged for comparison in found)
    moving = sum(comparison.moving for comparison in found)
    return f"{verdict}; not compared: {unjudged:,} unjudged, {moving:,} moving" if unjudged or moving else verdict
