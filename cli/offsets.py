"""`broker-events offsets`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import click

from broker_events.cli.guessing_group import GuessingGroup
from broker_events.cli.output import plural
from broker_events.runtime.kafka.clients import admin_client, answering
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.settings import load_settings

if TYPE_CHECKING:
    from broker_events.runtime.consume.record import TopicPartition

_APP: Final = re.compile(r"router|projector|deliver\.[a-z0-9-]+")
_OFFSET: Final = re.compile(r"(?P<topic>[A-Za-z0-9._-]+):(?P<partition>\d{1,9}):(?P<offset>\d{1,18})")


@click.group("offsets", cls=GuessingGroup)
def command() -> None:
    """Accept offsets that a worker rejects.

    \b
    Examples:
      broker-events offsets accept projector --reason "upgrade from 0.1.0" --dry-run
      broker-events offsets accept router raw:3:4711 --reason "4700 to 4710 were test data, ticket 17"
    """


def _offsets(
    _context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]
) -> dict[tuple[str, int], int]:
    given = {}
    for text in texts:
        found = _OFFSET.fullmatch(text)
        if found is None:
            raise click.BadParameter(f"{text!r} is not TOPIC:PARTITION:OFFSET, such as raw:3:4711")
        given[found["topic"], int(found["partition"])] = int(found["offset"])
    return given


def _app(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    if _APP.fullmatch(text) is None:
        raise click.BadParameter(
            f"{text!r} is none of router, projector and deliver.RECEIVER, such as deliver.risk-desk"
        )
    return text


@command.command("accept")
@click.argument("app", callback=_app, metavar="router|projector|deliver.RECEIVER")
@click.argument("offsets", nargs=-1, callback=_offsets, metavar="[TOPIC:PARTITION:OFFSET]...")
@click.option("--reason", required=True, help="Reason. The worker logs it when it starts at the offset.")
@click.option("--dry-run", is_flag=True, help="Show the offsets without setting them.")
def accept(*, app: str, offsets: dict[tuple[str, int], int], reason: str, dry_run: bool) -> None:
    """Accept offsets of a group that no worker has committed.

    A worker rejects offsets that it did not commit if they would repeat or skip records, and offsets of a topic that
    was recreated. This command accepts the group's current offsets, or sets the given ones. A topic without an offset
    is read from its first record if the group has offsets of other topics. Topics are named without the prefix. Other
    partitions keep their offsets. Records before an offset are never processed. Records from the offset onward are
    processed, even if their outputs exist. User and reason are stored with the offset until the next commit, and the
    worker logs them. Stop all workers of the group first.

    Exit codes: 0 set, 2 the group has members, an offset is outside its topic, or a permission is missing.

    \b
    Examples:
      broker-events offsets accept projector --reason "upgrade from 0.1.0" --dry-run
      broker-events offsets accept router raw:0:0 raw:1:0 --reason "raw was recreated, ticket 17"
    """
    from broker_events.runtime.consume.offset_moves import accept_offsets, require_no_members, topic_ids
    from broker_events.runtime.consume.record import TopicPartition
    from broker_events.runtime.kafka.topic_reader import committed_offsets, end_offsets, first_offsets, topic_partitions

    settings = answering(load_settings())
    group, topics = settings.group(app), [settings.topic(name) for name in _sources(app)]
    partitions = [tp for topic in topics for tp in topic_partitions(settings, topic)]
    present = {tp: at for tp, at in committed_offsets(settings, group, partitions).items() if at is not None}
    given = {TopicPartition(settings.topic(topic), number): offset for (topic, number), offset in offsets.items()}
    numbers = {tp.partition for tp in present}
    lost = [tp for tp in partitions if tp.partition in numbers and tp not in present]
    wanted: dict[TopicPartition, int] = given or present | first_offsets(settings, lost)
    if unknown := sorted(wanted.keys() - {*partitions}):
        raise OperatorActionRequired(f"{unknown[0].topic}[{unknown[0].partition}]: {app}s read no such partition")
    admin = admin_client(settings)
    if not dry_run:
        require_no_members(admin, settings, group)
    firsts, ends = first_offsets(settings, wanted), end_offsets(settings, wanted)
    for tp, offset in wanted.items():
        if not firsts[tp] <= offset <= ends[tp]:
            raise OperatorActionRequired(f"{tp.topic}[{tp.partition}] holds {firsts[tp]} to {ends[tp]}, not {offset}")
        click.echo(f"{tp.topic}[{tp.partition}]: {present.get(tp, 'no offset')} -> {offset}")
    if not dry_run:
        accept_offsets(admin, group, wanted, topic_ids(admin, topics), reason)
    click.echo(f"{len(wanted)} {plural('offset', len(wanted))} {'would be set' if dry_run else 'set'}")


def _sources(app: str) -> list[str]:
    """What the workers of an app read, without prefix."""
    from broker_events.processors.rules import PROJECTIONS
    from broker_events.schemas.catalog import RAW, load_catalog
    from broker_events.sinks.deliver.receivers import ALERTS

    if app.startswith("deliver."):
        return [ALERTS]
    events = load_catalog().events
    return [RAW] if app == "router" else [events[biz_type].topics[0].name for biz_type in PROJECTIONS]
