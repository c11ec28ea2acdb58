"""The quarantine's records, as the commands choose and read them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from broker_events.cli.time_arguments import EXAMPLES, Moment
from broker_events.schemas.invalid_event import FORMER_REASONS, Reason

if TYPE_CHECKING:
    from broker_events.runtime.consume.record import TopicPartition
    from broker_events.runtime.quarantine.replay import Quarantined
    from broker_events.runtime.settings import Settings

_OFFSETS: Final = re.compile(r"([0-9]*):([0-9]*)")


class Choice(NamedTuple):
    """Filters of quarantine records; None: no filter. Times are those of the quarantine record, ms since the epoch.

    `partition` and `offsets` (first and last, None: open) are those of the quarantine record.
    """

    reason: str | None = None
    biz_type: str | None = None
    account: str | None = None
    event_id: str | None = None
    since: int | None = None
    until: int | None = None
    partition: int | None = None
    offsets: tuple[int | None, int | None] = (None, None)

    def takes(self, quarantined: Quarantined) -> bool:
        """Say whether all but the place is as wanted: the place decides where to read."""
        event = quarantined.event
        return (
            self.reason in {None, event.reason, FORMER_REASONS.get(event.reason)}
            and self.biz_type in {None, event.biz_type}
            and (self.account is None or event.key == self.account.encode())
            and self.event_id in {None, event.event_id}
            and (self.since is None or quarantined.time_ms >= self.since)
            and (self.until is None or quarantined.time_ms < self.until)
        )


def _offsets(_context: click.Context, _option: click.Parameter, text: str | None) -> tuple[int | None, int | None]:
    match = _OFFSETS.fullmatch(text or ":")
    if match is None:
        raise click.BadParameter(f"{text!r} is not like 100:199, 100: or :199")
    first, last = (int(digits) if digits else None for digits in match.groups())
    return first, last


_OPTIONS: Final = (
    click.option(
        "--reason",
        type=click.Choice([reason.value for reason in Reason]),
        metavar="REASON",
        help="Only records with this reason, such as bad_amount.",
    ),
    click.option("--biz-type", help="Only events of this biz_type."),
    click.option("--account", help="Only records of this account key."),
    click.option("--event-id", help="Only the event of this id."),
    click.option("--since", type=Moment(), help=f"Only records quarantined since {EXAMPLES}."),
    click.option("--until", type=Moment(), help="Only records quarantined before this time."),
    click.option("--partition", type=click.IntRange(min=0), help="Only this partition of the quarantine topic."),
    click.option(
        "--offsets",
        metavar="A:B",
        callback=_offsets,
        help="Only offsets A to B; A or B may be empty.",
    ),
)


def choosing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that make a `Choice`, and the choice as its argument `choice`."""

    @functools.wraps(command)
    def with_choice(**given: Any) -> None:  # noqa: ANN401 (each option has its own type)
        command(choice=Choice(**{name: given.pop(name) for name in Choice._fields}), **given)

    for option in reversed(_OPTIONS):
        with_choice = option(with_choice)
    return with_choice


def read_chosen(settings: Settings, choice: Choice) -> Iterator[Quarantined]:
    """The chosen records, in order within a partition. Raises click.UsageError for a partition that isn't there."""
    from broker_events.runtime.kafka.topic_reader import end_offsets, offsets_at, topic_partitions
    from broker_events.runtime.quarantine.writer import QUARANTINE

    topic = settings.topic(QUARANTINE)
    partitions = [
        tp for tp in topic_partitions(settings, topic) if choice.partition is None or choice.partition == tp.partition
    ]
    if not partitions:
        raise click.UsageError(f"{topic} has no partition {choice.partition}")
    first, last = choice.offsets
    starts = dict.fromkeys(partitions, first or 0)
    if choice.since is not None:
        at = offsets_at(settings, partitions, choice.since)
        starts = {tp: max(start, at[tp]) for tp, start in starts.items()}
    ends = end_offsets(settings, partitions)
    if last is not None:
        ends = {tp: min(end, last + 1) for tp, end in ends.items()}
    for quarantined in read_quarantined(settings, starts, ends):
        if choice.takes(quarantined):
            yield quarantined


def read_quarantined(
    settings: Settings, starts: dict[TopicPartition, int], ends: dict[TopicPartition, int]
) -> Iterator[Quarantined]:
    """Yield the quarantine records from each start to each end; report and skip any other record."""
    from broker_events.cli.decoding import open_decoder
    from broker_events.runtime.consume.record import place_of
    from broker_events.runtime.kafka.topic_reader import read_to_end
    from broker_events.runtime.quarantine.replay import Quarantined
    from broker_events.schemas.models import QuarantinedEvent

    decode = open_decoder(settings)
    for record in chain.from_iterable(read_to_end(settings, starts, ends)):
        try:
            event = decode(record.value() or b"")
        except ValueError as error:
            event, problem = None, str(error)
        else:
            problem = f"it holds a {type(event).__name__}"
        if isinstance(event, QuarantinedEvent):
            yield Quarantined(record, event)
        else:
            click.echo(f"{place_of(record)} is no quarantine record: {problem}", err=True)
