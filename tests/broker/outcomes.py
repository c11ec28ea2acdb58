"""What became of every raw record, found out from the topics alone: typed, quarantined whole, or a known duplicate."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from pipeline_processes import Pipeline

from broker_events.runtime.consume.record import KafkaRecord
from broker_events.runtime.kafka.topic_reader import read_to_end, topic_partitions
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.codec import Codec

SHOWN = 20
Headers = list[tuple[str, bytes | None]]


@dataclass
class Fates:
    """How many records ended in which way, and what is wrong with that (the first of it)."""

    raw: int = 0
    typed: int = 0
    duplicates: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def quarantined(self) -> int:
        return self.refused.total()

    def found(self, what: str) -> None:
        if len(self.wrong) < SHOWN:
            self.wrong.append(what)


def find_fates(pipeline: Pipeline) -> Fates:
    """Read raw, typed and quarantine topics to their ends and account for every raw record."""
    fates = Fates()
    typed = _typed(pipeline, fates)
    quarantined = _quarantined(pipeline, fates)
    bodies: defaultdict[int, set[tuple[str, str]]] = defaultdict(set)
    for record in _read(pipeline, ["raw"]):
        fates.raw += 1
        partition, offset = record.partition(), record.offset()
        as_typed, as_refused = typed[partition].pop(offset, None), quarantined[partition].pop(offset, None)
        problem = None
        if as_typed is not None and as_refused is not None:
            problem = "is typed and quarantined"
        elif as_refused is not None:
            if as_refused != _whole(record.key(), record.value(), record.headers() or []):
                problem = "isn't whole in quarantine"
        elif as_typed is not None:
            bodies[partition].add(_identity(record))
            if as_typed != hash(record.key()):
                problem = "is typed under another key"
        elif _has_identity(record) and _identity(record) in bodies[partition]:
            fates.duplicates += 1
        else:
            problem = "is lost"
        if problem:
            fates.found(f"raw[{partition}]@{offset} {problem}")
    _find_left(typed, "typed", fates)
    _find_left(quarantined, "in quarantine", fates)
    return fates


def _find_left(found: dict[int, dict[int, int]], where: str, fates: Fates) -> None:
    """What is left in `found` comes from records that nobody has written."""
    for partition, offsets in found.items():
        for offset in offsets:
            fates.found(f"raw[{partition}]@{offset} is {where} and not there")


def _typed(pipeline: Pipeline, fates: Fates) -> dict[int, dict[int, int]]:
    """Hash of the key of each typed record, by partition and raw offset."""
    found: defaultdict[int, dict[int, int]] = defaultdict(dict)
    for record in _read(pipeline, [each.topics[0].name for each in load_catalog().events.values()]):
        fates.typed += 1
        offset = int(dict(record.headers() or ())["raw_offset"] or b"")
        if offset in found[record.partition()]:
            fates.found(f"raw[{record.partition()}]@{offset} is typed twice")
        found[record.partition()][offset] = hash(record.key())
    return found


def _quarantined(pipeline: Pipeline, fates: Fates) -> dict[int, dict[int, int]]:
    """Hash of key, value and headers in each quarantine record, by partition and raw offset."""
    contract = load_catalog().contracts["quarantined-event"]
    codec: Codec[Any] | None = None
    found: defaultdict[int, dict[int, int]] = defaultdict(dict)
    raw = pipeline.settings.topic("raw")
    for record in _read(pipeline, ["quarantine"]):
        value = record.value() or b""
        codec = codec or Codec(contract, int.from_bytes(value[1:5], "big"))
        event = codec.decode(value)
        fates.refused[event["reason"]] += 1
        source = event["partition"], event["offset"]
        if (event["topic"], event["partition"], event["key"]) != (raw, record.partition(), record.key()):
            fates.found(f"raw[{source[0]}]@{source[1]} is in quarantine under another key or partition")
        if event["offset"] in found[event["partition"]]:
            fates.found(f"raw[{source[0]}]@{source[1]} is in quarantine twice")
        headers = [(each["name"], each["value"]) for each in event["headers"]]
        found[event["partition"]][event["offset"]] = _whole(event["key"], event["value"], headers)
    return found


def _whole(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    return hash((key, value, tuple(headers)))


def _has_identity(record: KafkaRecord) -> bool:
    try:
        _identity(record)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return True


def _identity(record: KafkaRecord) -> tuple[str, str]:
    """Id and payload of an event: a broker that sends it again may change the envelope around it, and blanks."""
    text = (record.value() or b"").decode().strip("".join(map(chr, range(0x21))) + "\x7f\ufeff")
    event = json.loads(text, parse_int=str, parse_float=str)  # an integer may have more digits than Python converts
    return event["id"], json.dumps(event["payload"], sort_keys=True)


def _read(pipeline: Pipeline, topics: list[str]) -> Any:
    names = [pipeline.settings.topic(topic) for topic in topics]
    starts = {tp: 0 for name in names for tp in topic_partitions(pipeline.settings, name)}
    for batch in read_to_end(pipeline.settings, starts):
        yield from batch
