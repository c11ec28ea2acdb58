"""`broker-events explain`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from broker_events.cli.output import printable, reader_may_leave, write_lines
from broker_events.runtime.events.record_json import json_line

if TYPE_CHECKING:
    from broker_events.audit.event_trace import Step

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@click.command("explain")
@click.argument("event_id")
@click.option("--account", metavar="KEY", help="Account key of the event: read only its partition.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document per step.")
def command(*, event_id: str, account: str | None, as_json: bool) -> None:
    """Trace one event from raw record to alerts and state.

    Reads all topics and writes nothing. Prints one line per step in the order of time, with its place in Kafka and
    the time since the step before. A typed record has the timestamp of its raw record. Of the state, only the fields
    that this event set last are shown. Without --account every partition is read from its beginning, which may take
    minutes. Accounts are not masked.

    Exit codes: 0 found, 1 not found.

    \b
    Examples:
      broker-events explain event_0198c2b4-77f0-7c3e-9c55-3f1f0c8c1a55 --account 1234567890
      broker-events explain EVENT_ID --json | jq -c 'select(.what == "typed") | .record'
    """
    from broker_events.audit.event_trace import steps
    from broker_events.audit.explain import find_event
    from broker_events.cli.decoding import open_decoder
    from broker_events.runtime.kafka.clients import answering
    from broker_events.runtime.process.logs import configure_logging
    from broker_events.runtime.settings import load_settings

    settings = load_settings()
    configure_logging(settings, "explain")
    answering(settings)
    found = find_event(settings, event_id, account, open_decoder(settings))
    if not found:
        where = "any partition" if account is None else "the partition of that account key"
        click.echo(f"no event {event_id} in {where} of the topics {settings.topic('*')}", err=True)
        sys.exit(1)
    way = steps(event_id, found)
    with reader_may_leave():
        write_lines(_documents(way) if as_json else _lines(way))


def _documents(way: list[Step]) -> Iterator[str]:
    for step, since_us in _with_since(way):
        yield json_line(
            {"time": _time(step.at_us), "since_us": since_us, "what": step.what, "place": step.place} | step.facts
        )


def _lines(way: list[Step]) -> Iterator[str]:
    for step, since_us in _with_since(way):
        since = "" if since_us is None else f"+{since_us / 1_000_000:.3f} s"
        yield f"{_time(step.at_us):%Y-%m-%dT%H:%M:%S.%fZ}  {since:>14}  {step.what}  {step.place or ''}".rstrip()
        for name, content in _flat(step.facts):
            text = content if isinstance(content, str) else json_line(content).strip('"')
            yield f"{'':4}{name:<24}{printable(text)}"


def _flat(facts: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, content in facts.items():
        yield from content.items() if isinstance(content, dict) else [(name, content)]


def _with_since(way: list[Step]) -> Iterator[tuple[Step, int | None]]:
    """Each step and the microseconds since the one before; 0 where that is in the same millisecond, and later."""
    before: int | None = None
    for step in way:
        yield step, None if before is None else max(0, step.at_us - before)
        before = step.at_us


def _time(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)
