"""`broker-events quarantine`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

import click

from broker_events.cli.event_text import readable
from broker_events.cli.guessing_group import GuessingGroup
from broker_events.cli.output import aligned, plural, printable, reader_may_leave, write_lines
from broker_events.cli.quarantine_records import Choice, choosing, read_chosen
from broker_events.cli.quarantine_replay import replay
from broker_events.runtime.events.record_json import iso_millis, json_line, text_or_base64

if TYPE_CHECKING:
    from broker_events.runtime.quarantine.replay import Quarantined
    from broker_events.runtime.settings import Settings

_DETAIL: Final = 60


@click.group("quarantine", cls=GuessingGroup)
def command() -> None:
    """List, show and replay quarantined (dead-lettered) records.

    \b
    Examples:
      broker-events quarantine list --reason unknown_biz_type
      broker-events quarantine show 3:17
      broker-events quarantine replay --reason unknown_biz_type --dry-run
    """


command.add_command(replay)


def _place(_context: click.Context, _argument: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    partition, colon, offset = text.partition(":")
    if not (colon and partition.isdecimal() and offset.isdecimal()):
        raise click.BadParameter(f"{text!r} is not like 3:17")
    return int(partition), int(offset)


@command.command("list")
@choosing
@click.option("--limit", type=click.IntRange(min=1), help="Show only the newest N records.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document per record, counts to stderr.")
def list_(*, choice: Choice, limit: int | None, as_json: bool) -> None:
    """List quarantined records, newest last, with counts.

    Reads the quarantine topic and writes nothing. The first column is the argument of `show`. `replayed` is the time
    of a replay. Accounts are masked to their last four characters.

    Exit codes: 0 success, 2 usage, settings or permissions.

    \b
    Examples:
      broker-events quarantine list --limit 20
      broker-events quarantine list --reason unknown_biz_type --since "2h ago"
      broker-events quarantine list --json | jq -r 'select(.stage == "router") | .place'
    """
    from broker_events.runtime.kafka.clients import answering
    from broker_events.runtime.quarantine.replay import read_recoveries
    from broker_events.runtime.settings import load_settings

    settings = answering(load_settings())
    found = sorted(read_chosen(settings, choice), key=lambda quarantined: quarantined.time_ms)
    shown = found[-limit:] if limit else found
    replayed = _replay_times(settings, read_recoveries(settings), shown)
    rows = [_row(quarantined, replayed.get(quarantined.name)) for quarantined in shown]
    reasons = Counter(quarantined.event.reason for quarantined in found).most_common()
    counts = ", ".join(f"{count} {name}" for name, count in reasons)
    summary = f"{len(found)} {plural('record', len(found))}{': ' if counts else ''}{counts}"
    with reader_may_leave():
        write_lines(map(json_line, rows) if as_json else _table(rows))
        click.echo(printable(summary), err=as_json)


@command.command("show")
@click.argument("place", metavar="[PARTITION:OFFSET]", callback=_place, required=False)
@choosing
@click.option("--limit", type=click.IntRange(min=1), help="Show at most N records.")
@click.option("--value", "value_only", is_flag=True, help="Print the value only: the event as it was received.")
def show(*, place: tuple[int, int] | None, choice: Choice, limit: int | None, value_only: bool) -> None:
    """Show quarantined records with reason, headers and value.

    PARTITION:OFFSET is the place of the quarantine record, the first column of `list`. Without it, choose records by
    options. JSON is indented and otherwise unchanged. A value that is not text is shown as a hex dump. Accounts are
    not masked.

    Exit codes: 0 success, 2 no such record, usage, settings or permissions.

    \b
    Examples:
      broker-events quarantine show 3:17
      broker-events quarantine show --event-id 4711
      broker-events quarantine show --reason unknown_biz_type --limit 1 --value > event.json
    """
    from broker_events.runtime.kafka.clients import answering
    from broker_events.runtime.settings import load_settings

    if place is None and choice == Choice():
        raise click.UsageError("name a record, such as 3:17, or choose some, such as --reason bad_amount")
    settings = answering(load_settings())
    found = islice(read_chosen(settings, choice), limit) if place is None else iter([_read_one(settings, *place)])
    with reader_may_leave():
        for quarantined in found:
            write_lines([_value(quarantined)] if value_only else _description(quarantined))


def _read_one(settings: Settings, partition: int, offset: int) -> Quarantined:
    chosen = Choice(partition=partition, offsets=(offset, offset))
    for quarantined in read_chosen(settings, chosen):
        return quarantined
    raise click.UsageError(f"the quarantine has no record {partition}:{offset}")


def _value(quarantined: Quarantined) -> str:
    try:
        return (quarantined.event.value or b"").decode()
    except UnicodeDecodeError:
        raise click.UsageError(f"the value of {quarantined.place} is not text: show it without --value") from None


def _replay_times(settings: Settings, recoveries: dict[str, bytes], shown: Iterable[Quarantined]) -> dict[str, str]:
    """When each of these was replayed, by name; without an entry for one that wasn't."""
    from broker_events.cli.decoding import open_decoder
    from broker_events.schemas.models import QuarantineRecovery

    decode = open_decoder(settings)
    times = {}
    for name in {quarantined.name for quarantined in shown} & recoveries.keys():
        recovery = decode(recoveries[name])
        if isinstance(recovery, QuarantineRecovery):
            times[name] = iso_millis(int(recovery.recovered_at.timestamp() * 1000))
    return times


def _row(quarantined: Quarantined, replayed: str | None) -> dict[str, str | None]:
    event = quarantined.event
    detail = event.detail or ""
    return {
        "place": quarantined.place,
        "time": iso_millis(quarantined.time_ms),
        "reason": event.reason,
        "stage": event.stage,
        "biz_type": event.biz_type,
        "source": quarantined.source,
        "account": _masked(event.key),
        "replayed": replayed,
        "pointer": event.pointer,
        "detail": detail if len(detail) <= _DETAIL else f"{detail[: _DETAIL - 1]}…",
    }


def _masked(key: bytes | None) -> str | None:
    return None if key is None else f"…{key.decode(errors='backslashreplace')[-4:]}"


def _table(rows: list[dict[str, str | None]]) -> Iterator[str]:
    if rows:
        yield from aligned([[*rows[0]], *([printable(text or "-") for text in row.values()] for row in rows)])


def _description(quarantined: Quarantined) -> Iterator[str]:
    """Every member of the quarantine record, the headers and the value on lines of their own."""
    from broker_events.runtime.consume.record import place_of

    record, event = quarantined
    yield f"{'quarantined':<15}{place_of(record)}"
    yield f"{'quarantined at':<15}{iso_millis(quarantined.time_ms)}"
    yield f"{'source':<15}{quarantined.source}"
    for name, content in event.model_dump(exclude={"topic", "partition", "offset", "headers", "value"}).items():
        yield f"{name:<15}{'-' if content is None else printable(_one_line(content))}"
    for name, content in record.headers() or ():  # who skipped it, and why
        yield f"{name:<15}{printable(_one_line(content))}"
    yield "headers"
    for header in event.headers:
        yield printable(f"  {header.name}: {'-' if header.value is None else _one_line(header.value)}")
    if event.value is None:
        yield "value          -"
    else:
        yield f"value, {len(event.value)} bytes"
        yield readable(event.value)


def _one_line(content: object) -> str:
    """Text as it is, bytes that are text too, the rest as JSON has it."""
    plain = text_or_base64(content) if isinstance(content, bytes) else content
    return plain if isinstance(plain, str) else json_line(plain).strip('"')
