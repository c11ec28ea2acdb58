"""Where a consumer group begins to read, and when it must not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runtime.errors import SettingsError
from runtime.record import TopicPartition
from runtime.settings import Settings
from runtime.topic_reader import end_offsets, first_offsets, read_to_end


def start_offsets(
    settings: Settings, group: str, committed: Mapping[TopicPartition, int], outputs: Sequence[str]
) -> dict[TopicPartition, int]:
    """The offset to begin at by partition: the committed one, or 0 where the group has none (negative) yet.

    `outputs`: topics that only this group writes, into the partition number that a record came from. Raises
    SettingsError where to begin would skip records (they are deleted already) or write them again (the group's offsets
    have expired though its outputs are there): what to do then is a person's decision.
    """
    firsts, ends = first_offsets(settings, committed), end_offsets(settings, committed)
    for tp, offset in committed.items():
        if not firsts[tp] <= max(offset, 0) <= ends[tp]:
            read = f"has read up to {offset}" if offset >= 0 else "has read nothing yet"
            raise SettingsError(
                f"{tp.topic}[{tp.partition}]: the group {group} {read}, the topic holds {firsts[tp]} to {ends[tp]}: "
                "records are gone that were never read. Set the group's offset with kafka-consumer-groups "
                "--reset-offsets once it is clear what became of them"
            )
    unread = {tp.partition for tp in committed} - {tp.partition for tp, offset in committed.items() if offset >= 0}
    for records in read_to_end(settings, {TopicPartition(topic, number): 0 for number in unread for topic in outputs}):
        record = records[0]
        raise SettingsError(
            f"the group {group} has no offset for partition {record.partition()}, yet it has written "
            f"{record.topic()}: its offsets have expired. Set them with kafka-consumer-groups --reset-offsets to "
            "where the outputs end; to begin anew would write every event again"
        )
    return {tp: max(offset, 0) for tp, offset in committed.items()}
