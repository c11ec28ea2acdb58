"""The option `--partition` of commands that go through a topic partition by partition."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from broker_events.runtime.consume.record import TopicPartition
    from broker_events.runtime.settings import Settings

choosing_partitions: Final = click.option(
    "--partition",
    "numbers",
    type=click.IntRange(min=0),
    multiple=True,
    help="Only this partition. Repeatable.  [default: all]",
)


def chosen_partitions(settings: Settings, topic: str, numbers: Iterable[int]) -> list[TopicPartition]:
    """These partitions of a topic (Kafka name), or all without a number. Raises UsageError where it lacks one."""
    from broker_events.runtime.kafka.topic_reader import topic_partitions

    partitions = topic_partitions(settings, topic)
    wanted = set(numbers)
    if missing := wanted - {tp.partition for tp in partitions}:
        raise click.UsageError(f"{topic} has no partition {', '.join(map(str, sorted(missing)))}")
    return [tp for tp in partitions if not wanted or tp.partition in wanted]
