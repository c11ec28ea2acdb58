"""`broker-events rebuild`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from broker_events.cli.missing_alerts import emit_alerts
from broker_events.cli.output import (
    aligned,
    json_line,
    plural,
    printable,
    reader_may_leave,
    text_or_base64,
    write_lines,
)
from broker_events.cli.partitions import choosing_partitions, chosen_partitions

if TYPE_CHECKING:
    from broker_events.audit.state_diff import Comparison, StateDifference

_COLUMNS: Final = ("table", "partition", "equal", "missing", "extra", "different", "moving", "unjudged")
_LISTED: Final = 100
_NO_ALERTS: Final = "no alert was written: look with --emit-alerts for those that are missing"


@click.command("rebuild")
@choosing_partitions
@click.option("--apply", "is_applied", is_flag=True, help="Write what differs; refused while a projector is at work.")
@click.option(
    "--delete-extra",
    is_flag=True,
    help="With --apply: remove extra keys too. Right only where nobody else wrote them and the typed topics reach back "
    "to the beginning.",
)
@click.option(
    "--emit-alerts",
    "emits_alerts",
    is_flag=True,
    help="Instead of the tables: show alerts that are missing in the topic alerts; with --apply write them.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document a table's partition and difference.")
def command(
    *, numbers: tuple[int, ...], is_applied: bool, delete_extra: bool, emits_alerts: bool, as_json: bool
) -> None:
    """Fold the state tables anew from the typed topics, compare them with the live ones, and repair what differs.

    state.accounts, state.movements and alerts.active are folded with the projector's own rules, up to the offsets that
    it has committed. Without --apply nothing is written and the pipeline may be at work: a key that changed while it
    was read is "moving". A key that rests on events which retention has deleted is "unjudged" and never repaired. An
    "extra" key is one that no event has made: state from another cluster, or a removal that the table has missed. It
    stays, unless --delete-extra is given. Refused where the projectors' group has lost its offsets.

    A repair writes state and no alerts. With --emit-alerts the events are folded the same way, and compared are the
    alerts that they give rise to by the rules of this version with the topic alerts, by alert_id. --apply writes those
    that are missing there, late and behind newer ones, with the headers recovery_id and recovered_by (OS user and
    host); a second run finds nothing. alerts.active follows where the condition holds now. Repair the tables first.

    Exit codes: 0 equal or repaired, 1 different, extra keys left, or alerts missing; keys are listed, the first hundred
    of each table's partition. Memory: the tables of one partition, twice.

    \b
    Examples:
      broker-events rebuild
      broker-events rebuild --partition 3 --json | jq -r 'select(.verdict == "different") | .key'
      broker-events rebuild --apply
      broker-events rebuild --apply --delete-extra
      broker-events rebuild --emit-alerts
      broker-events rebuild --emit-alerts --apply
    """
    from broker_events.audit.rebuild import Rebuild
    from broker_events.audit.repair import Repair
    from broker_events.processors.projector import TABLES
    from broker_events.runtime.process.logs import configure_logging
    from broker_events.runtime.settings import load_settings

    if delete_extra and not is_applied:
        raise click.UsageError("--delete-extra goes with --apply")
    if delete_extra and emits_alerts:
        raise click.UsageError("--emit-alerts deletes nothing: leave out --delete-extra")
    settings = load_settings()
    configure_logging(settings, "rebuild")
    chosen = chosen_partitions(settings, settings.topic(TABLES[0]), numbers)
    repair = Repair(settings) if is_applied else None
    rebuild = Rebuild(settings)
    if emits_alerts:
        sys.exit(emit_alerts(rebuild, repair, chosen, as_json=as_json))
    found, differing, repaired = [], 0, 0
    for tp in chosen:
        comparisons, offsets = rebuild.compare(tp.partition)
        findings = [finding for comparison in comparisons for finding in comparison.findings]
        if repair is not None:
            repaired += repair.apply(_to_write(findings, delete_extra=delete_extra), offsets, rebuild.headers)
        found += comparisons
        differing += len(findings)
    with reader_may_leave():
        write_lines(_documents(found) if as_json else report(found, repaired))
        if repair is not None:
            for line in _outcome(repaired, differing - repaired):
                click.echo(line, err=as_json)
    sys.exit(1 if differing > repaired else 0)


def _to_write(findings: list[StateDifference], *, delete_extra: bool) -> list[StateDifference]:
    from broker_events.audit.state_diff import DifferenceKind

    return [finding for finding in findings if delete_extra or finding.kind is not DifferenceKind.EXTRA]


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


def _documents(found: list[Comparison]) -> Iterator[str]:
    for comparison in found:
        yield json_line(_row(comparison))
        for finding in comparison.findings:
            key = text_or_base64(finding.key)
            names = {"table": finding.table, "partition": finding.partition, "key": key}
            yield json_line(names | {"verdict": finding.kind, "fields": finding.fields})


def report(found: list[Comparison], repaired: int) -> Iterator[str]:
    """A row a table and partition, as it was found, then the keys, then the verdict, after so many repairs."""
    cells = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in _row(each).values()] for each in found]
    yield from aligned((_COLUMNS, *cells), str.rjust)
    for comparison in found:
        for finding in comparison.findings[:_LISTED]:
            key = printable(finding.key.decode(errors="backslashreplace"))
            fields = ", ".join(finding.fields)
            yield f"{finding.kind}  {finding.table}[{finding.partition}]  {key}  {fields}".rstrip()
        if len(comparison.findings) > _LISTED:
            yield f"{len(comparison.findings) - _LISTED:,} more in {comparison.table}[{comparison.partition}]"
    yield _verdict(found, repaired)


def _verdict(found: list[Comparison], repaired: int) -> str:
    """What is so now, and of how many keys that isn't said."""
    differing = sum(len(comparison.findings) for comparison in found)
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
