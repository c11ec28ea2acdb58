"""`broker-events quarantine`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from cli.event_text import readable
from cli.output import iso_millis, json_line, printable, reader_may_leave, text_or_base64, write_lines

if TYPE_CHECKING:
    from runtime.record import Record
    from runtime.settings import Settings
    from schemas.models import QuarantinedEvent

TOPIC: Final = "quarantine"
_DETAIL: Final = 60


class Quarantined(NamedTuple):
    """A record of the quarantine topic and what is in it."""

    record: Record
    event: QuarantinedEvent

    @property
    def place(self) -> str:
        """Name of the quarantine record, as `show` takes it."""
        return f"{self.record.partition()}:{self.record.offset()}"

    @property
    def source(self) -> str:
        return f"{self.event.topic}[{self.event.partition}]@{self.event.offset}"


@click.group("quarantine")
def command() -> None:
    """What could not be processed, whole and with the reason.

    \b
    Example:
      broker-events quarantine list --reason unknown_biz_type
      broker-events quarantine show 3:17
    """


@command.command("list")
@click.option("--reason", help="Only this reason, such as bad_amount.")
@click.option("--biz-type", help="Only events of this biz_type.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the newest so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line; the counts go to standard error.")
def list_(*, reason: str | None, biz_type: str | None, limit: int | None, as_json: bool) -> None:
    """List quarantined records, newest last, and count them by reason.

    The first column is what `show` takes. Accounts are shown by their last four characters.

    \b
    Examples:
      broker-events quarantine list --limit 20
      broker-events quarantine list --json | jq -r 'select(.stage == "router") | .place'
    """
    from runtime.settings import load_settings

    found = [
        quarantined
        for quarantined in _read_all(load_settings())
        if reason in {None, quarantined.event.reason} and biz_type in {None, quarantined.event.biz_type}
    ]
    found.sort(key=lambda quarantined: quarantined.record.timestamp()[1])
    rows = [_row(quarantined) for quarantined in (found[-limit:] if limit else found)]
    reasons = Counter(quarantined.event.reason for quarantined in found).most_common()
    counts = ", ".join(f"{count} {name}" for name, count in reasons)
    summary = f"{len(found)} records{': ' if counts else ''}{counts}"
    with reader_may_leave():
        write_lines(map(json_line, rows) if as_json else _table(rows))
        click.echo(printable(summary), err=as_json)


@command.command("show")
@click.argument("place", metavar="PARTITION:OFFSET")
def show(place: str) -> None:
    """Show one quarantined record: why, where it was read, its headers and its value.

    PARTITION:OFFSET is the quarantine record's own, the first column of `list`. A value that is JSON is indented,
    otherwise untouched; one that is no text is shown as a hex dump. Accounts are shown whole.

    \b
    Example:
      broker-events quarantine show 3:17
    """
    from runtime.settings import load_settings

    partition, colon, offset = place.partition(":")
    if not (colon and partition.isdecimal() and offset.isdecimal()):
        raise click.BadParameter(f"{place!r} is not like 3:17", param_hint="PARTITION:OFFSET")
    quarantined = _read_one(load_settings(), int(partition), int(offset))
    with reader_may_leave():
        write_lines(_description(quarantined))


def _read_all(settings: Settings) -> Iterator[Quarantined]:
    from runtime.topic_reader import read_to_end, topic_partitions

    starts = dict.fromkeys(topic_partitions(settings, settings.topic(TOPIC)), 0)
    return _decoded(settings, read_to_end(settings, starts))


def _read_one(settings: Settings, partition: int, offset: int) -> Quarantined:
    from runtime.record import TopicPartition
    from runtime.topic_reader import end_offsets, read_to_end, topic_partitions

    tp = TopicPartition(settings.topic(TOPIC), partition)
    if tp in topic_partitions(settings, tp.topic) and offset < end_offsets(settings, [tp])[tp]:
        for quarantined in _decoded(settings, read_to_end(settings, {tp: offset}, {tp: offset + 1})):
            if quarantined.record.offset() == offset:
                return quarantined
    raise click.UsageError(f"{tp.topic} has no quarantined record {partition}:{offset}")


def _decoded(settings: Settings, batches: Iterator[list[Record]]) -> Iterator[Quarantined]:
    """Decode quarantine records; name one that nobody of ours has written, and go on."""
    from cli.decoding import open_decoder
    from schemas.models import QuarantinedEvent

    decode = open_decoder(settings)
    for record in chain.from_iterable(batches):
        try:
            event = decode(record.value() or b"")
        except ValueError as error:
            event, problem = None, str(error)
        else:
            problem = f"it holds a {type(event).__name__}"
        if isinstance(event, QuarantinedEvent):
            yield Quarantined(record, event)
        else:
            place = f"{record.topic()}[{record.partition()}]@{record.offset()}"
            click.echo(f"{place} is no quarantine record: {problem}", err=True)


def _row(quarantined: Quarantined) -> dict[str, str | None]:
    event = quarantined.event
    detail = event.detail or ""
    return {
        "place": quarantined.place,
        "time": iso_millis(quarantined.record.timestamp()[1]),
        "reason": event.reason,
        "stage": event.stage,
        "biz_type": event.biz_type,
        "source": quarantined.source,
        "account": _masked(event.key),
        "pointer": event.pointer,
        "detail": detail if len(detail) <= _DETAIL else f"{detail[: _DETAIL - 1]}…",
    }


def _masked(key: bytes | None) -> str | None:
    return None if key is None else f"…{key.decode(errors='backslashreplace')[-4:]}"


def _table(rows: list[dict[str, str | None]]) -> Iterator[str]:
    """Columns as wide as what is in them, so that nothing is cut off in a pipe."""
    if not rows:
        return
    cells = [list(rows[0]), *([printable(text or "-") for text in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        yield "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()


def _description(quarantined: Quarantined) -> Iterator[str]:
    """Every member of the quarantine record, the headers and the value on lines of their own."""
    record, event = quarantined
    yield f"{'quarantined':<15}{record.topic()}[{record.partition()}]@{record.offset()}"
    yield f"{'quarantined at':<15}{iso_millis(record.timestamp()[1])}"
    yield f"{'source':<15}{quarantined.source}"
    for name, content in event.model_dump(exclude={"topic", "partition", "offset", "headers", "value"}).items():
        yield f"{name:<15}{'-' if content is None else printable(_one_line(content))}"
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
