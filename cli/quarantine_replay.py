"""`broker-events quarantine replay`."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from broker_events.cli.output import aligned, plural, printable
from broker_events.cli.quarantine_records import Choice, choosing, read_chosen, read_quarantined

if TYPE_CHECKING:
    from broker_events.runtime.quarantine.replay import Quarantined
    from broker_events.runtime.settings import Settings
    from broker_events.schemas.catalog import Catalog

_BATCH_BYTES: Final = 4_000_000
_PROGRESS_S: Final = 1.0


class Line(NamedTuple):
    """What is counted together."""

    reason: str
    biz_type: str
    outcome: str


class ReplayPlan(NamedTuple):
    """What a replay would do: how many of what, and the records to be replayed."""

    counts: Counter[Line]
    offsets: dict[int, set[int]]
    total: int
    rejected: Counter[str]
    """What is left out as it would be rejected again, by the reason that it would have then."""

    @property
    def records(self) -> str:
        """How many would be replayed, in words."""
        return f"{self.total} {plural('record', self.total)}"


@click.command("replay")
@choosing
@click.option("--limit", type=click.IntRange(min=1), help="Replay at most N records, oldest first.")
@click.option(
    "--dry-run", is_flag=True, help="Show the outcome of each record by this version's contracts, without writing."
)
@click.option("--include-rejected", is_flag=True, help="Also replay records that would be rejected again.")
@click.option("--note", help="Note for the audit record.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation. Needs a filter, --limit or --all.")
@click.option("--all", "everything", is_flag=True, help="With --yes: replay all records that can be replayed.")
def replay(
    *,
    choice: Choice,
    limit: int | None,
    dry_run: bool,
    include_rejected: bool,
    note: str | None,
    yes: bool,
    everything: bool,
) -> None:
    """Replay quarantined records through the router.

    Reads the quarantine topic. Writes the original bytes, key and headers to the raw topic, and an audit record to
    quarantine.recoveries. Each record is replayed once, so an interrupted run can be repeated. Records that this
    version would reject again are left out, unless --include-rejected is given. A newer run ends an older one.

    Exit codes: 0 records were replayed, or would be with --dry-run; 1 none.

    \b
    Examples:
      broker-events quarantine replay --reason unknown_biz_type --biz-type FEE_FORECAST --dry-run
      broker-events quarantine replay --biz-type FEE_FORECAST --limit 10 --note "contract added"
      broker-events quarantine replay --since 2026-01-31T09:30:00Z --until "2h ago" --yes
    """
    from broker_events.runtime.kafka.acls import verify_access
    from broker_events.runtime.kafka.clients import admin_client, answering
    from broker_events.runtime.quarantine.replay import RECOVERIES, ROLE, Replay
    from broker_events.runtime.quarantine.writer import QUARANTINE
    from broker_events.runtime.schema_ids import resolve_schema_ids
    from broker_events.runtime.settings import load_settings
    from broker_events.schemas.catalog import RAW, load_catalog
    from broker_events.schemas.codec import Codec
    from broker_events.schemas.storage_types import QuarantineRecovery

    settings, catalog = load_settings(), load_catalog()
    if dry_run:
        answering(settings)
        plan = _plan(settings, catalog, choice, limit, include_rejected=include_rejected)
        _print(plan)
        click.echo(f"{plan.records} would be replayed")
        sys.exit(0 if plan.total else 1)
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("no terminal to ask for confirmation. Check with --dry-run, then add --yes")
    if yes and choice == Choice() and limit is None and not everything:
        raise click.UsageError("--yes needs a filter such as --reason bad_amount, or --all")
    topics = [settings.topic(name) for name in (QUARANTINE, RAW, RECOVERIES)]
    verify_access(admin_client(answering(settings)), settings, ROLE, topics)
    schema_id = resolve_schema_ids(settings, catalog)[RECOVERIES]
    codec: Codec[QuarantineRecovery] = Codec(catalog.topics[RECOVERIES][0], schema_id)
    with Replay(settings, codec, note) as run:
        plan = _plan(settings, catalog, choice, limit, include_rejected=include_rejected)
        _print(plan)
        if plan.total and not yes:
            click.confirm(f"Replay {plan.records} into {settings.topic(RAW)}?", abort=True)
        sent, said_at = 0, 0.0
        for batch in _batches(_planned(settings, plan), settings.transaction_records):
            run.send(batch)
            sent += len(batch)
            if time.monotonic() - said_at >= _PROGRESS_S:
                said_at = time.monotonic()
                click.echo(f"{sent} of {plan.total} replayed", err=True)
        click.echo(f"{sent} {plural('record', sent)} replayed, recovery_id {run.recovery_id}")
    sys.exit(0 if sent else 1)


def _plan(
    settings: Settings, catalog: Catalog, choice: Choice, limit: int | None, *, include_rejected: bool
) -> ReplayPlan:
    """Look at every chosen record; of those that can be replayed the oldest `limit` are planned."""
    from broker_events.processors.replay_outcome import LEFT_OUT, ReplayOutcome
    from broker_events.processors.replay_preview import REJECTED
    from broker_events.runtime.quarantine.replay import read_recoveries

    replayed = read_recoveries(settings).keys()
    forecast = ReplayOutcome(settings, catalog)
    counts: Counter[Line] = Counter()
    rejected: Counter[str] = Counter()
    candidates: list[tuple[int, int, int, Line]] = []
    for quarantined in read_chosen(settings, choice):
        event = quarantined.event
        outcome = forecast.of(quarantined, is_replayed=quarantined.name in replayed)
        line = Line(event.reason, event.biz_type or "-", outcome)
        if outcome in LEFT_OUT:
            counts[line] += 1
        elif outcome.startswith(REJECTED) and not include_rejected:
            counts[line] += 1
            rejected[outcome.removeprefix(REJECTED)] += 1
        else:
            record = quarantined.record
            candidates.append((quarantined.time_ms, record.partition(), record.offset(), line))
    candidates.sort()
    offsets: defaultdict[int, set[int]] = defaultdict(set)
    for _, partition, offset, line in candidates[:limit]:
        offsets[partition].add(offset)
        counts[line] += 1
    return ReplayPlan(counts, offsets, len(candidates[:limit]), rejected)


def _print(plan: ReplayPlan) -> None:
    from broker_events.processors.replay_preview import TYPED

    rows = [(str(count), *line) for line, count in sorted(plan.counts.items(), key=lambda item: (-item[1], item[0]))]
    for line in aligned([("count", *Line._fields), *rows]):
        click.echo(printable(line))
    if plan.total and not any(line.outcome.startswith(TYPED) for line in plan.counts):
        click.echo("none of them would be typed")
    if plan.rejected:
        reasons = ", ".join(f"{count} {reason}" for reason, count in plan.rejected.most_common())
        count = plan.rejected.total()
        click.echo(
            f"{count} {plural('record', count)} would be rejected again, left out: {reasons} (--include-rejected)"
        )


def _planned(settings: Settings, plan: ReplayPlan) -> Iterator[Quarantined]:
    from broker_events.runtime.consume.record import TopicPartition
    from broker_events.runtime.quarantine.writer import QUARANTINE

    topic = settings.topic(QUARANTINE)
    starts = {TopicPartition(topic, partition): min(offsets) for partition, offsets in plan.offsets.items()}
    ends = {TopicPartition(topic, partition): max(offsets) + 1 for partition, offsets in plan.offsets.items()}
    for quarantined in read_quarantined(settings, starts, ends):
        record = quarantined.record
        if record.offset() in plan.offsets[record.partition()]:
            yield quarantined


def _batches(chosen: Iterable[Quarantined], limit: int) -> Iterator[list[Quarantined]]:
    """Parts of at most `limit` records, and of about 4 MB: what one transaction takes."""
    batch: list[Quarantined] = []
    size = 0
    for quarantined in chosen:
        batch.append(quarantined)
        size += len(quarantined.record)
        if len(batch) == limit or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
