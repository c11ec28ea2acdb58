"""The interface between a source and the bridge."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol


class Checkpoint(NamedTuple):
    """Where to resume after a restart. Only the source interprets `position`, which is valid within its `stream`."""

    stream: str
    position: str


class Received(NamedTuple):
    """One event as received.

    `payload` is the bytes as received: a whole envelope, an inner payload object, or other bytes. `received_at` is in
    microseconds since the epoch. The texts are the message's own fields, empty where it has none (a line of a file).
    Without `checkpoint` the source resumes by event type and position. `file` and `line` locate a line. `whole`: size
    and SHA-256 (hex) of an event too large to hold, of which `payload` is the beginning. `simulated`: whether it came
    from the simulator.
    """

    payload: bytes
    received_at: int
    event_id: str = ""
    event_type: str = ""
    position: str = ""
    timestamp: str = ""
    version: str = ""
    checkpoint: Checkpoint | None = None
    file: str = ""
    line: int = 0
    whole: tuple[int, str] | None = None
    simulated: bool = False


Resume = Callable[[], Mapping[str, str]]
"""Waits until every yielded event is in the transaction; returns the position of each stream's last event."""


class EventSource(Protocol):
    """Yields events in order until it is exhausted or stopped. `name`: first part of its cursors' keys."""

    @property
    def name(self) -> str: ...

    def receive(self, resume: Resume) -> Iterator[Received]:
        """Yield the events after the positions that `resume` returns; call it again for each new connection.

        Runs in a thread of its own and may block. Raises PipelineError when an operator must act.
        """
        ...

    def stop(self) -> None:
        """End `receive` soon. Any thread may call it."""
        ...
