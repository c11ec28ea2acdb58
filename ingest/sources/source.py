"""What a source hands to the bridge, and what the bridge asks of a source."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol


class Checkpoint(NamedTuple):
    """Where to go on after a restart: `position` is opaque to all but the source, and valid within its `stream`."""

    stream: str
    position: str


class Received(NamedTuple):
    """One event as it came in.

    `payload` is the bytes as received: a whole envelope, an inner payload object, or anything else. `received_at` is in
    microseconds since the epoch. The texts are the message's own fields, empty where it has none (a line of a file).
    A source that leaves `checkpoint` out goes on by event type and position. `file` and `line` say where a line is.
    `whole`: size and SHA-256 (hex) of an event too large to be held, of which `payload` is the beginning.
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


# Stream -> position of the last event that was handed to the transaction; waits until all that was yielded is handed.
Resume = Callable[[], Mapping[str, str]]


class EventSource(Protocol):
    """Yields events in order until it is exhausted or stopped; `name` is the first part of its cursors' keys."""

    @property
    def name(self) -> str: ...

    def receive(self, resume: Resume) -> Iterator[Received]:
        """Yield the events after the positions that `resume` gives, which is asked again for each new connection.

        Runs in a thread of its own and may block. Raises PipelineError when a person has to act.
        """
        ...

    def stop(self) -> None:
        """End `receive` soon; from any thread."""
        ...
