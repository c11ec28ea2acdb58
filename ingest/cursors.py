"""How far each stream has come: records of a compacted topic, written in the transaction of the events they stand for.

Key `<source>/<stream>` (the stream is an event type, or what a file is known by); value a JSON object of strings:
position, event_id, received_at. All cursors are in partition 0, so that finding them doesn't depend on the partition
count.
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


class Cursor(NamedTuple):
    """The last event of a stream: its position, its id ("" where it has none), when it was received (us since 1970)."""

    position: str
    event_id: str
    received_at: int

    def encode(self) -> bytes:
        """JSON object of strings, `received_at` as in the headers of the raw topic."""
        return orjson.dumps(self._asdict() | {"received_at": iso_micros(self.received_at)})


def cursor_key(source: str, stream: str) -> str:
    return f"{source}/{stream}"


def read_positions(settings: Settings, source: str) -> dict[str, str]:
    """Committed position of every stream of the source.

    To be called after the older bridge of this source is fenced: then nobody moves them any more. Raises
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
            f"{topic}: the cursor {key!r} holds no position: write a correct one, or a tombstone"
        )
    return position
