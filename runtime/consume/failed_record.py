"""A record that stops its worker: the errors, and the count of attempts in the group's committed offset."""

from __future__ import annotations

from typing import Final, NamedTuple

from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.process.errors import PipelineError, RestartRequired

# A restart helps if memory or disk of one machine failed; the partition may move to another machine.
MOST_ATTEMPTS: Final = 3


class RecordFailed(RestartRequired):
    """A record can't be processed. Nothing of the open transaction may commit: the record is read again."""

    def __init__(self, tp: TopicPartition, offset: int, problem: str) -> None:
        """`problem` quotes nothing of the record."""
        super().__init__(f"{tp.topic}[{tp.partition}]@{offset}: {problem}")
        self.tp = tp
        self.offset = offset
        self.attempt = 0

    def __str__(self) -> str:
        attempt = f" (attempt {self.attempt} of {MOST_ATTEMPTS})" if self.attempt else ""
        return f"{super().__str__()}. Nothing of its batch is committed; a restart reads it again{attempt}"


class RecordBlocks(PipelineError):
    """A record failed at each of its attempts: it and everything behind it wait for another build, or for a skip."""

    exit_code = 3

    def __init__(self, failed: RecordFailed, topic_id: str) -> None:
        topic, partition = failed.tp
        super().__init__(
            f"{failed.args[0]}. It failed after {MOST_ATTEMPTS} restarts too. It and all records behind it wait; "
            "nothing is lost. Start a build that can process it. To give up this one: broker-events projector --skip "
            f"{topic}:{partition}:{failed.offset}:{topic_id} --reason TEXT "
            "(docs/how-to/runbook.md#a-record-stops-the-projector)"
        )


class Attempts(NamedTuple):
    """How often the record at `offset` has stopped a worker.

    It is kept in the committed offset's note (runtime.consume.offset_note). There it survives the process and moves
    with the partition.
    """

    offset: int
    number: int
