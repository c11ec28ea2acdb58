"""Cursors: the last committed position of each stream, in a compacted topic.

The bridge writes a cursor in the transaction of the events before it. Key: `<source>/<stream>`, where the stream is an
event type or identifies a file (`sources.ndjson`). Value: a JSON object of strings: position, event_id, received_at.
All cursors are in partition 0, so finding them doesn't depend on the partition count.
"""

from typing import Final, NamedTuple

import orjson

from broker_events.ingest.raw_record import iso_micros
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.kafka.topic_reader import read_to_end
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.settings import Settings

TOPIC: Final = "ingest.cursors"
PARTITION: Final = 0
NO_STREAM: Final = ""
"""Its key holds tombstones alone: they are written for the time at which the cluster appends them."""


class Cursor(NamedTuple):
    """Last event of a stream: position, id ("" where it has none), time of receipt (microseconds since the epoch)."""

    position: str
    event_id: str
    received_at: int

    def encode(self) -> bytes:
        """Return a JSON object of strings, `received_at` as in the headers of the raw topic."""
        return orjson.dumps(self._asdict() | {"received_at": iso_micros(self.received_at)})


def cursor_key(source: str, stream: str) -> str:
    return f"{source}/{stream}"


def read_positions(settings: Settings, source: str) -> dict[str, str]:
    """Return the committed position of every stream of the source.

    Call it after the older bridge of this source is fenced, so that no other process moves them. Raises
    OperatorActionRequired when a cursor isn't readable, RestartRequired when the topic isn't.
    """
    topic = settings.topic(TOPIC)
    prefix = cursor_key(source, "")
    values: dict[str, bytes | None] = {}
    for batch in read_to_end(settings, {TopicPartition(topic, PARTITION): 0}):
        for record in batch:
            values[(record.key() or b"").decode("utf-8", "replace")] = record.value()
    return {
        key.removeprefix(prefix): _position(value, topic, key)
        for key, value in values.items()
        if value is not None and key.startswith(prefix)
    }


def _position(value: bytes, topic: str, key: str) -> str:
    try:
        position = orjson.loads(value)["position"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        position = None
    if not isinstance(position, str):
        raise OperatorActionRequired(
            f"{topic}: the cursor {key!r} holds no position. Write a correct one, or a tombstone"
        )
    return position
