"""The offsets at which a consumer group begins to read, and the checks of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence

from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.consume.topic_identity import refuse_another
from broker_events.runtime.kafka.topic_reader import Committed, end_offsets, first_offsets, read_to_end
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.settings import Settings

log = logging.getLogger(__name__)


def foreign_offsets(
    group: str, found: Mapping[TopicPartition, Committed], topic_ids: Mapping[str, str]
) -> set[TopicPartition]:
    """Return the partitions whose offset neither a worker committed nor an operator accepted.

    Raises OperatorActionRequired if an offset belongs to a deleted topic: `topic_ids` are those of the
    topics now.
    """
    for tp, (offset, note) in found.items():
        if offset >= 0 and note.topic_id is not None:
            refuse_another(tp.topic, note.topic_id, topic_ids[tp.topic])
        if note.moved_by is not None:
            log.warning(
                "%s[%d]: the group %s begins at %d, where %s has set it: %s",
                *(tp.topic, tp.partition, group, offset, note.moved_by, note.reason),
            )
    return {tp for tp, (offset, note) in found.items() if offset >= 0 and note.topic_id is None}


def refusal(tp: TopicPartition, offset: int, app: str, why: str) -> OperatorActionRequired:
    """Return the error for an offset that no worker committed and that doesn't fit the outputs."""
    return OperatorActionRequired(
        f"{tp.topic}[{tp.partition}]: the offset {offset} of the {app}s' group was committed by no worker: {why}. "
        "Set it to the end of the outputs (docs/how-to/runbook.md, A worker refuses its offsets), or accept it: "
        f"broker-events offsets accept {app} --reason TEXT"
    )


def start_offsets(
    settings: Settings,
    group: str,
    committed: Mapping[TopicPartition, int],
    outputs: Sequence[str],
    stop: threading.Event | None = None,
) -> dict[TopicPartition, int]:
    """Return the offset to begin at by partition: the committed one, or 0 if the group has none (negative).

    `outputs`: topics that only this group writes, into the partition number that a record came from. Raises
    OperatorActionRequired if starting would skip records (retention deleted them), write them again (the group's
    offsets expired, but its outputs exist), or if a topic has lost its offset alone: an operator must decide.
    """
    firsts, ends = first_offsets(settings, committed, stop), end_offsets(settings, committed, stop)
    for tp, offset in committed.items():
        if not firsts[tp] <= max(offset, 0) <= ends[tp]:
            read = f"has read up to {offset}" if offset >= 0 else "has read nothing yet"
            raise OperatorActionRequired(
                f"{tp.topic}[{tp.partition}]: the group {group} {read}, the topic holds {firsts[tp]} to {ends[tp]}: "
                "unread records are gone. Find out what happened to them, then set the group's offset with "
                "kafka-consumer-groups --reset-offsets"
            )
    known = {tp.partition for tp, offset in committed.items() if offset >= 0}
    # A worker commits an offset of every topic at once.
    if lost := sorted(tp for tp, offset in committed.items() if offset < 0 and tp.partition in known):
        topic, number = lost[0]
        raise OperatorActionRequired(
            f"{topic}[{number}]: the group {group} has offsets of other topics in this partition and none of this one: "
            "the topic was deleted and created again, or this version is the first to read it. See "
            "docs/how-to/runbook.md, A worker refuses its offsets"
        )
    unread = {tp.partition for tp in committed} - known
    for records in read_to_end(
        settings, {TopicPartition(topic, number): 0 for number in unread for topic in outputs}, stop=stop
    ):
        record = records[0]
        raise OperatorActionRequired(
            f"the group {group} has no offset for partition {record.partition()}, yet it has written "
            f"{record.topic()}: its offsets have expired, or its source was deleted and created again. Starting at "
            "offset 0 would write every event again. See docs/how-to/runbook.md, A worker refuses its offsets"
        )
    return {tp: max(offset, 0) for tp, offset in committed.items()}
