"""The ledger: every raw record has exactly one outcome, proved from the topics alone."""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final, NamedTuple

from audit.balance import Balance
from audit.books import Books
from processors.routing import Route, find_route
from runtime.logs import configure_logging
from runtime.quarantine import QUARANTINE
from runtime.record import Record, TopicPartition
from runtime.schema_ids import open_registry, resolve_schema_ids
from runtime.settings import Settings
from runtime.topic_reader import committed_offsets, end_offsets, first_offsets, offsets_at, read_to_end
from schemas.catalog import load_catalog
from schemas.codec import Codec, DecodeError
from schemas.envelope import parse_event
from schemas.event_reader import EventReader, Readable
from schemas.frame import frame
from schemas.headers import raw_offset
from schemas.records import QuarantinedEvent
from schemas.transcoder import Transcoder

log = logging.getLogger(__name__)

RAW: Final = "raw"
ROUTER: Final = "router"
_REPORT_EVERY_S: Final = 5.0

Offsets = Mapping[TopicPartition, int]


class Range(NamedTuple):
    """Raw records to be judged: those of a partition from `start` to before `end`."""

    partition: int
    start: int
    end: int


def settled_ranges(
    settings: Settings, partitions: Sequence[TopicPartition], starts: Offsets | None = None, ends: Offsets | None = None
) -> list[Range]:
    """What the router is done with, of all that these raw partitions hold, or of what is from `starts` to `ends`.

    Outputs commit together with the group's offset: of what is below it, every output is there that there will be.
    """
    committed = committed_offsets(settings, settings.group(ROUTER), partitions)
    firsts, lasts = first_offsets(settings, partitions), end_offsets(settings, partitions)
    ranges = []
    for tp in partitions:
        end = min(committed[tp] or 0, lasts[tp], (ends or lasts)[tp])
        ranges.append(Range(tp.partition, min(max(firsts[tp], (starts or firsts)[tp]), end), end))
    return ranges


def audit_ranges(
    settings: Settings, ranges: Sequence[Range], processes: int, *, deep: bool = False
) -> Iterator[Balance]:
    """Balance of each range, as they come, so many partitions at a time. `deep`: compare every typed value too.

    Raises what `Auditor` raises.
    """
    if min(processes, len(ranges)) <= 1:
        auditor = Auditor(settings, deep=deep)
        yield from map(auditor.audit, ranges)
        return
    # librdkafka's threads don't survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, len(ranges)), context, _begin, (settings, deep))
    try:
        yield from pool.map(_audit, ranges)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


class Auditor:
    """Reads one partition after another.

    Raises SettingsError where the registry lacks a schema, MustRestart where Kafka or the registry don't answer, or
    Kafka deletes what is being read.
    """

    def __init__(self, settings: Settings, *, deep: bool) -> None:
        self._settings = settings
        catalog = load_catalog()
        ids = resolve_schema_ids(settings, catalog)
        typed = [
            (settings.topic(topic), biz_type, contract, ids[topic])
            for biz_type, contract in catalog.events.items()
            for topic in (contract.topics[0].name,)
        ]
        self._biz_types = {topic: biz_type for topic, biz_type, _, _ in typed}
        self._frames = {topic: frame(schema_id) for topic, _, _, schema_id in typed}
        self._encode = None
        if deep:
            self._encode = typed_encoder(
                [
                    Readable(
                        contract,
                        schema_id,
                        Route(biz_type, str(contract.event_type), topic, Transcoder(contract, schema_id)),
                    )
                    for topic, biz_type, contract, schema_id in typed
                ]
            )
        contract = catalog.topics[QUARANTINE][0]
        self._codec: Codec[QuarantinedEvent] = Codec(contract, ids[QUARANTINE], open_registry(settings).schema_text)

    def audit(self, judged: Range) -> Balance:
        """Read the range's raw records and everything that may have come of them."""
        raw = TopicPartition(self._settings.topic(RAW), judged.partition)
        books = Books(*judged, self._settings.duplicate_window, self._biz_types, self._encode)
        progress = _Progress(judged)
        if judged.start < judged.end:
            for records in read_to_end(self._settings, {raw: books.origin}, {raw: judged.end}):
                books.add_raw(records)
                progress.add("raw", len(records))
        outputs = [TopicPartition(topic, judged.partition) for topic in self._biz_types]
        firsts = first_offsets(self._settings, outputs)
        starts = firsts
        if books.origin and books.oldest_ms is not None:
            starts = offsets_at(self._settings, outputs, books.oldest_ms)
        kept_from = {tp.topic: judged.end for tp in outputs if 0 < firsts[tp] == starts[tp]}
        awaited = set(kept_from)
        for records in read_to_end(self._settings, starts):
            for record in records if awaited else ():
                if record.topic() in awaited:
                    awaited.discard(record.topic())
                    kept_from[record.topic()] = raw_offset(record.headers()) or 0
            books.add_typed(records, self._frames)
            progress.add("typed", len(records))
        return books.close(kept_from, self._add_quarantined(books, raw, judged.end, progress))

    def _add_quarantined(self, books: Books, raw: TopicPartition, end: int, progress: _Progress) -> int:
        """Return the raw offset from which on quarantine is whole: 0, unless its oldest records are deleted."""
        quarantine = TopicPartition(self._settings.topic(QUARANTINE), raw.partition)
        kept_from = None if first_offsets(self._settings, [quarantine])[quarantine] else 0
        for records in read_to_end(self._settings, {quarantine: 0}):
            progress.add("quarantined", len(records))
            for record in records:
                event = self._decode(record)
                if event is not None and (event["stage"], event["topic"], event["partition"]) == (ROUTER, *raw):
                    books.add_quarantined(record, event)
                    kept_from = event["offset"] if kept_from is None else kept_from
        return end if kept_from is None else kept_from

    def _decode(self, record: Record) -> QuarantinedEvent | None:
        try:
            return self._codec.decode(record.value() or b"")
        except DecodeError as error:
            log.warning("%s[%d]@%d: %s", record.topic(), record.partition(), record.offset(), error)
            return None


def typed_encoder(readable: Sequence[Readable[Route]]) -> Callable[[bytes | None], bytes]:
    """What makes the typed value of a raw one; it raises InvalidEvent where there is none."""
    read = EventReader(readable).read
    routes = {one.label.biz_type: one.label for one in readable}

    def encode(value: bytes | None) -> bytes:
        found = read(value)
        if found is not None:
            return found[2]
        event = parse_event(value)
        return find_route(event.root, routes).transcoder.encode_event(event)

    return encode


class _Progress:
    """A line every few seconds while a partition is read."""

    def __init__(self, judged: Range) -> None:
        self._judged = judged
        self._counts: dict[str, int] = {}
        self._due = time.monotonic() + _REPORT_EVERY_S

    def add(self, what: str, count: int) -> None:
        self._counts[what] = self._counts.get(what, 0) + count
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _REPORT_EVERY_S
            read = ", ".join(f"{number:,} {name}" for name, number in self._counts.items())
            log.info("partition %d, offsets %d to %d: read %s", *self._judged, read)


_auditor: list[Auditor] = []  # of a process of the pool


def _begin(settings: Settings, deep: bool) -> None:  # noqa: FBT001 (a process's arguments have no names)
    configure_logging(settings, "ledger")
    _auditor.append(Auditor(settings, deep=deep))


def _audit(judged: Range) -> Balance:
    return _auditor[0].audit(judged)
