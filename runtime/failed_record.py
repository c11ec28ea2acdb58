"""A record that stops its worker: the errors, and the count of attempts in the group's committed offset."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from runtime.errors import MustRestart, PipelineError
from runtime.record import TopicPartition

# A restart helps where memory or disk of one machine was at fault; the partition may move to another one meanwhile.
MOST_ATTEMPTS: Final = 3


class RecordFailed(MustRestart):
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

    def __init__(self, failed: RecordFailed) -> None:
        topic, partition = failed.tp
        super().__init__(
            f"{failed.args[0]}. It failed after {MOST_ATTEMPTS} restarts too. It and all records behind it wait; "
            "nothing is lost. Start a build that can process it. To give up this one: broker-events projector --skip "
            f"{topic}:{partition}:{failed.offset} --reason TEXT (docs/runbook.md#a-record-stops-the-projector)"
        )


class Attempts(NamedTuple):
    """How often the record at `offset` has stopped a worker."""

    offset: int
    number: int

    @property
    def metadata(self) -> str:
        """As metadata of a committed offset: it survives the process and moves with the partition."""
        return json.dumps({"failed_offset": self.offset, "attempts": self.number}, separators=(",", ":"))


def attempts_of(metadata: str | None) -> Attempts | None:
    """Read the metadata of a committed offset; None for any that isn't of this form."""
    try:
        members = json.loads(metadata or "")
        offset, number = members["failed_offset"], members["attempts"]
    except (ValueError, TypeError, KeyError):
        return None
    return Attempts(offset, number) if isinstance(offset, int) and isinstance(number, int) else None
