"""Who wrote a record: what a broker's own log says of the transaction that it came in."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, TopicPartition

PLACE = re.compile(r"([\w.-]+)\[(\d+)\]@(\d+)")  # as Stored prints it
TRANSACTIONS = "__transaction_state"
# Record batch, version 2 (Kafka documentation, Message Format), as far as the producer's epoch.
_BATCH = struct.Struct(">qiibIhiqqqh")
_LENGTH_FROM = 12
_TRANSACTION = struct.Struct(">hq")  # value of a record of the transaction log: version, producer id


class Writer(NamedTuple):
    producer_id: int
    epoch: int


def writers_of(details: Iterable[str], prefix: str, data: Sequence[Path], clients: dict[str, Any]) -> Iterator[str]:
    """A line for each record that details of violations name. `data`: the data folders of brokers on this machine."""
    places = {match.groups() for detail in details for match in PLACE.finditer(detail)}
    names: dict[int, str] = {}
    for topic, partition, offset in sorted(places, key=lambda place: (place[0], int(place[1]), int(place[2]))):
        names = names or _transactional_ids(clients)
        writer = find_writer(data, f"{prefix}.{topic}", int(partition), int(offset))
        name = writer and names.get(writer.producer_id)
        yield f"{topic}[{partition}]@{offset} was written by {name or 'an unknown process'}, {writer}"


def find_writer(data: Sequence[Path], topic: str, partition: int, offset: int) -> Writer | None:
    """The producer of the record; None where no broker's log has it."""
    for folder in data:
        for segment in sorted((folder / f"{topic}-{partition}").glob("*.log"), reverse=True):
            if int(segment.stem) <= offset:
                writer = _search(segment, offset)
                if writer is not None:
                    return writer
                break
    return None


def _search(segment: Path, offset: int) -> Writer | None:
    with segment.open("rb") as file:
        while len(header := file.read(_BATCH.size)) == _BATCH.size:
            base, length, _, _, _, _, last_delta, _, _, producer_id, epoch = _BATCH.unpack(header)
            if base <= offset <= base + last_delta:
                return Writer(producer_id, epoch)
            file.seek(length + _LENGTH_FROM - _BATCH.size, 1)
    return None


def _transactional_ids(clients: dict[str, Any]) -> dict[int, str]:
    """Transactional ids by producer id, from the brokers' transaction log."""
    more = {"group.id": "writers", "enable.auto.commit": False, "enable.partition.eof": True}
    consumer = Consumer(clients | more | {"auto.offset.reset": "earliest"})
    try:
        partitions = consumer.list_topics(TRANSACTIONS, 10).topics[TRANSACTIONS].partitions
        consumer.assign([TopicPartition(TRANSACTIONS, number, 0) for number in partitions])
        names: dict[int, str] = {}
        left = len(partitions)
        while left:
            for message in consumer.consume(1000, 1):
                error, key, value = message.error(), message.key(), message.value()
                if error is not None:
                    left -= error.code() == KafkaError._PARTITION_EOF
                elif key is not None and value is not None:
                    _, producer_id = _TRANSACTION.unpack_from(value)
                    names[producer_id] = key[4:].decode()  # after version and length
        return names
    finally:
        consumer.close()
