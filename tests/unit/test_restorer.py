"""A restore takes as long as it takes: assignments that come meanwhile wait, and lose nothing of it."""

from __future__ import annotations

from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any

import pytest

from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.consume.restorer import Assignment, Restorer

ONE, TWO, THREE = (TopicPartition("raw", number) for number in range(3))
PATIENCE_S = 10.0


class Restores:
    """A processor whose restore waits until `end` is called; `begun` has the arguments of each."""

    def __init__(self) -> None:
        self.begun: SimpleQueue[tuple[Mapping[TopicPartition, int], set[TopicPartition]]] = SimpleQueue()
        self._ends: SimpleQueue[BaseException | None] = SimpleQueue()
        self.restorer = Restorer(self.restore)

    def restore(self, positions: Mapping[TopicPartition, int], unmoved: set[TopicPartition], _: Any) -> None:
        self.begun.put((positions, unmoved))
        error = self._ends.get(timeout=PATIENCE_S)
        if error is not None:
            raise error

    def begin(self, positions: dict[TopicPartition, int], *unmoved: TopicPartition) -> None:
        self.restorer.begin(Assignment(positions, {}, set(), {}), set(unmoved))

    def end(self, error: BaseException | None = None) -> Assignment | None:
        """End the running restore; return what `finished` returns then."""
        self._ends.put(error)
        self.restorer.wait(PATIENCE_S)
        return self.restorer.finished()

    def next(self) -> tuple[Mapping[TopicPartition, int], set[TopicPartition]]:
        return self.begun.get(timeout=PATIENCE_S)


def test_it_ends_once() -> None:
    restores = Restores()
    assert not restores.restorer.is_busy
    restores.begin({ONE: 5, TWO: 7}, TWO)
    assert restores.next() == ({ONE: 5, TWO: 7}, {TWO})
    assert restores.restorer.is_busy
    assert restores.restorer.finished() is None
    done = restores.end()
    assert done is not None
    assert done.positions == {ONE: 5, TWO: 7}
    assert not restores.restorer.is_busy


def test_the_latest_of_the_assignments_that_waited_is_next() -> None:
    """What the restore before it has read is unmoved, by its own positions and not by those that only waited."""
    restores = Restores()
    restores.begin({ONE: 5, TWO: 7})
    restores.next()
    restores.begin({ONE: 6, TWO: 7})
    restores.begin({ONE: 5, TWO: 8, THREE: 1})
    assert restores.end() is None
    assert restores.next() == ({ONE: 5, TWO: 8, THREE: 1}, {ONE})
    done = restores.end()
    assert done is not None
    assert done.positions == {ONE: 5, TWO: 8, THREE: 1}


def test_a_revoked_assignment_is_not_restored() -> None:
    restores = Restores()
    restores.begin({ONE: 5})
    restores.next()
    restores.begin({TWO: 7})
    restores.restorer.revoke()
    done = restores.end()  # the processor's state is the first one's
    assert done is not None
    assert done.positions == {ONE: 5}
    assert restores.begun.empty()


def test_an_error_is_raised() -> None:
    restores = Restores()
    restores.begin({ONE: 5})
    with pytest.raises(OSError, match="no space"):
        restores.end(OSError("no space"))
