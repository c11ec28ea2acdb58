"""`broker-events rebuild --emit-alerts`."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import click

from broker_events.cli.output import aligned, plural, printable, reader_may_leave, write_lines
from broker_events.runtime.events.record_json import json_line

if TYPE_CHECKING:
    from broker_events.audit.missing_alerts import MissingAlerts
    from broker_events.audit.rebuild import Rebuild, Unfolded
    from broker_events.audit.repair import Repair
    from broker_events.runtime.consume.record import TopicPartition
    from broker_events.runtime.kafka.clients import Headers
    from broker_events.schemas.storage_types import Alert

_COLUMNS: Final = ("alert_id", "rule", "status", "account", "event_id", "event_time")
_UNJUDGED: Final = (
    "not judged: {}. Retention has deleted events before them, or alerts of their time: they may have been raised with "
    "this id or another. Compare with what alerting consumers have received"
)

_UNFOLDED: Final = (
    "{} left out: no projector has quarantined them, and this version or its settings cannot apply them. Run rebuild "
    "with the projectors' version and settings; until then --apply writes nothing for their partitions"
)
_LISTED: Final = 100


def emit_alerts(rebuild: Rebuild, repair: Repair | None, partitions: Iterable[TopicPartition], *, as_json: bool) -> int:
    """Show the missing alerts and, with `repair`, write them. Returns the exit code."""
    from broker_events.audit.rebuild import refuse_unfolded
    from broker_events.runtime.process.operator import operator
    from broker_events.schemas.headers import RECOVERED_BY, RECOVERY_ID

    recovery_id = str(uuid.uuid4())
    audit: Headers = [(RECOVERY_ID, recovery_id), (RECOVERED_BY, operator())]
    found, unfolded, written = [], [], 0
    for tp in partitions:
        missing, outputs, left_out, offsets = rebuild.missing_alerts(tp.partition, audit)
        found.append(missing)
        unfolded += left_out
        if repair is not None:
            refuse_unfolded(left_out)
            written += repair.write(outputs, offsets)
    alerts = [each.alert.alert for missing in found for each in missing.missing]
    with reader_may_leave():
        write_lines(map(json_line, map(_row, alerts)) if as_json else _table(alerts))
        for line in (*unfolded_lines(unfolded), *_summary(found, len(alerts), None if repair is None else written)):
            click.echo(line, err=as_json)
        if written:
            click.echo(f"recovery_id {recovery_id}", err=as_json)
    return 1 if unfolded or (alerts and repair is None) else 0


def unfolded_lines(unfolded: list[Unfolded]) -> Iterator[str]:
    """Yield a line per event that was left out, and what to do."""
    for topic, partition, offset, reason in unfolded[:_LISTED]:
        yield f"unfolded  {topic}[{partition}]@{offset}  {reason}"
    if unfolded:
        yield _UNFOLDED.format(f"{len(unfolded):,} {plural('event', len(unfolded))}")


def _row(alert: Alert) -> dict[str, str]:
    """What identifies an alert; of the account its last four characters."""
    from broker_events.processors.rules.alerting import account_tail

    return {
        "alert_id": alert["alert_id"],
        "rule": alert["rule"],
        "status": alert["status"],
        "account": account_tail(alert["account_key"]),
        "event_id": alert["event_id"],
        "event_time": alert["event_time_text"],
    }


def _table(alerts: list[Alert]) -> Iterator[str]:
    rows = [[printable(text) for text in _row(alert).values()] for alert in alerts]
    yield from aligned((_COLUMNS, *rows)) if rows else ()


def _summary(found: list[MissingAlerts], count: int, written: int | None) -> Iterator[str]:
    alerts = f"{count:,} {plural('alert', count)}"
    if written is None:
        yield f"{alerts} missing; --apply writes" if count else "no alert is missing"
    else:
        yield f"{alerts} written, and {written - count:,} {plural('record', written - count)} of alerts.active"
    if unjudged := sum(missing.unjudged for missing in found):
        yield _UNJUDGED.format(f"{unjudged:,} {plural('alert', unjudged)}")
