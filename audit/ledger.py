"""The ledger: proves from the topics alone that every raw record has exactly one outcome."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from broker_events.audit.parallel import in_processes
from broker_events.audit.progress import Progress
from broker_events.audit.reconciliation import Encode, Reconciliation
from broker_events.audit.verdict import Verdict, judge
from broker_events.processors.duplicate_restore import CLOCKS_MS
from broker_events.processors.routing import Routing
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.events.duplicate_window import DuplicateWindow, duplicate_window
from broker_events.runtime.events.event_reader import EventReader, Readable
from broker_events.runtime.events.transcoder import Transcoder
from broker_events.runtime.kafka.clients import admin_client
from broker_events.runtime.kafka.topic_reader import (
    committed_offsets,
    end_offsets,
    first_offsets,
    offsets_at,
    read_to_end,
)
from broker_events.runtime.kafka.topics import retention_ms, typed_size_limit
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.process.logs import configure_logging
from broker_events.runtime.process.memory import collect_rarely
from broker_events.runtime.quarantine.reader import QuarantineReader
from broker_events.runtime.quarantine.writer import QUARANTINE
from broker_events.runtime.schema_ids import registry_problem, resolve_schema_ids, schema_lookup
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import RAW, ContractError, load_catalog
from broker_events.schemas.codec import DecodeError, writer_schema
from broker_events.schemas.frame import frame
from broker_events.schemas.headers import raw_offset
from broker_events.schemas.registry import RegistryError, SchemaNotRegistered

log = logging.getLogger(__name__)

ROUTER: Final = "router"

Offsets = Mapping[TopicPartition, int]


class Range(NamedTuple):
    """The raw records to judge: those of a partition from `start` to before `end`."""

    partition: int
    start: int
    end: int


def settled_ranges(
    settings: Settings, partitions: Sequence[TopicPartition], starts: Offsets | None = None, ends: Offsets | None = None
) -> list[Range]:
    """Return the ranges that the routers have finished, within `starts` and `ends` or all that the partitions hold.

    Outputs commit in one transaction with the group's offset, so every output of a record below it exists. Raises
    OperatorActionRequired where the group has no offset for a partition that holds records.
    """
    group = settings.group(ROUTER)
    committed = committed_offsets(settings, group, partitions)
    firsts, lasts = first_offsets(settings, partitions), end_offsets(settings, partitions)
    if unread := [tp for tp in partitions if committed[tp] is None and firsts[tp] < lasts[tp]]:
        raise OperatorActionRequired(
            f"the group {group} has no offset for {unread[0].topic} in partitions "
            f"{', '.join(str(tp.partition) for tp in unread)}, which hold records: the ledger can't judge them. Check "
            "that TOPIC_PREFIX is the routers'. If the routers have not committed yet, run the ledger later. If the "
            "group's offsets have expired, set them with kafka-consumer-groups --reset-offsets to where the outputs end"
        )
    ranges = []
    for tp in partitions:
        end = min(committed[tp] or 0, lasts[tp], (ends or lasts)[tp])
        ranges.append(Range(tp.partition, min(max(firsts[tp], (starts or firsts)[tp]), end), end))
    return ranges


def audit_ranges(
    settings: Settings, ranges: Sequence[Range], processes: int, *, deep: bool = False
) -> Iterator[Verdict]:
    """Yield one verdict per range, in order, with `processes` partitions in parallel.

    `deep`: compare every typed value too. Raises what `Auditor` raises.
    """
    if min(processes, len(ranges)) <= 1:
        auditor = Auditor(settings, deep=deep)
        collect_rarely()
        yield from map(auditor.audit, ranges)
        return
    yield from in_processes(_audit, ranges, processes, _begin, (settings, deep))


class Auditor:
    """Audits one range after another.

    Raises OperatorActionRequired where the registry lacks a schema. Raises RestartRequired where Kafka or the registry
    don't answer, or Kafka deletes what is being read.
    """

    def __init__(self, settings: Settings, *, deep: bool) -> None:
        self._settings = settings
        catalog = load_catalog()
        ids = resolve_schema_ids(settings, catalog)
        names = {settings.topic(name): name for name in (one.topics[0].name for one in catalog.events.values())}
        self._biz_types = dict(zip(names, catalog.events, strict=True))
        self._frames = {topic: frame(ids[name]) for topic, name in names.items()}
        readable = (Readable(one, ids[one.topics[0].name], biz_type) for biz_type, one in catalog.events.items())
        self._read = EventReader(readable).read
        self._encode = None
        self._lookup = schema_lookup(settings)
        self._contracts = dict(zip(names, catalog.events.values(), strict=True))
        if deep:
            routing = Routing(catalog.events, ids, settings.topic, typed_size_limit(settings))
            self._encode = partial(_typed_value, routing, duplicate_window(0))
        self._rejected = QuarantineReader(settings, catalog, ids[QUARANTINE], ROUTER, {settings.topic(RAW)})

    def audit(self, judged: Range) -> Verdict:
        """Read the range's raw records and every output that they may have, and judge them."""
        raw = TopicPartition(self._settings.topic(RAW), judged.partition)
        outputs = [TopicPartition(topic, judged.partition) for topic in self._biz_types]
        quarantine = TopicPartition(self._settings.topic(QUARANTINE), judged.partition)
        # The outputs' ends first: no output before them names a raw record behind `raw_end`.
        ends = end_offsets(self._settings, [*outputs, quarantine])
        raw_end = end_offsets(self._settings, [raw])[raw]
        raw_first, window = first_offsets(self._settings, [raw])[raw], self._settings.duplicate_window
        reconciliation = Reconciliation(*judged, window, self._biz_types, self._read, self._encode, raw_end, raw_first)
        progress = Progress(f"partition {judged.partition} with its outputs")
        if judged.start < judged.end:
            for records in read_to_end(self._settings, {raw: reconciliation.origin}, {raw: judged.end}):
                reconciliation.add_raw(records)
                progress.add(len(records))
        firsts = first_offsets(self._settings, [*outputs, quarantine])
        starts = {tp: firsts[tp] for tp in outputs}
        if reconciliation.origin and reconciliation.oldest_ms is not None:
            lead = reconciliation.reach if reconciliation.lacks_its_past else 0
            found = offsets_at(self._settings, outputs, reconciliation.oldest_ms)
            starts = {tp: max(offset - lead, firsts[tp]) for tp, offset in found.items()}
        cut = [tp.topic for tp in (*outputs, quarantine) if 0 < firsts[tp] == starts.get(tp, firsts[tp])]
        kept_from = self._kept_by_retention(raw, judged.end, cut)
        awaited = set(cut)
        for records in read_to_end(self._settings, starts, {tp: ends[tp] for tp in outputs}):
            for record in records if awaited else ():
                if record.topic() in awaited:
                    awaited.discard(record.topic())
                    kept_from[record.topic()] = min(kept_from[record.topic()], raw_offset(record.headers()) or 0)
            reconciliation.add_typed(records, self._frames)
            progress.add(len(records))
        quarantine_kept_from = kept_from.pop(quarantine.topic, 0)
        for record, event in self._rejected.read({quarantine: 0}, ends={quarantine: ends[quarantine]}):
            progress.add(1)
            if event["partition"] == raw.partition:
                reconciliation.add_quarantined(record, event)
                if quarantine.topic in awaited:
                    awaited.discard(quarantine.topic)
                    quarantine_kept_from = min(quarantine_kept_from, event["offset"])
        self._compare_others(reconciliation, judged, progress)
        progress.done()
        return judge(reconciliation, kept_from, quarantine_kept_from)

    def _compare_others(self, reconciliation: Reconciliation, judged: Range, progress: Progress) -> None:
        """Read the raw records again where another version wrote typed values: its schemas are known only now."""
        if not reconciliation.other_schemas:
            return
        encoders = {other: self._encoder(*other) for other in reconciliation.other_schemas}
        raw = TopicPartition(self._settings.topic(RAW), judged.partition)
        for records in read_to_end(self._settings, {raw: judged.start}, {raw: judged.end}):
            reconciliation.compare_others(records, encoders)
            progress.add(len(records))

    def _encoder(self, topic: str, schema_id: int) -> Encode | None:
        """Return what makes typed values with this writer's schema; None for a schema that this version can't read."""
        contract = self._contracts[topic]
        try:
            text = self._lookup(schema_id)
            other = replace(contract, schema=writer_schema(schema_id, text, contract.schema or {}))
            reader = EventReader([Readable(other, schema_id, topic)])
            transcoder = Transcoder(other, schema_id)
        except (SchemaNotRegistered, DecodeError, ContractError) as error:
            log.error("%s: %s; every value of this schema counts as altered", topic, error)  # noqa: TRY400
            return None
        except RegistryError as error:
            raise registry_problem(error) from None

        def encode(value: bytes | None) -> bytes:
            found = reader.read(value)
            return transcoder.encode(value or b"") if found is None else found[2]

        return encode

    def _kept_by_retention(self, raw: TopicPartition, end: int, topics: Sequence[str]) -> dict[str, int]:
        """Return by topic the raw offset from which on retention has kept every output; `end` where it is unknown.

        An output's timestamp is its raw record's or later, apart from clock differences.
        """
        if not topics:
            return {}
        kept_ms = retention_ms(admin_client(self._settings), topics)
        now_ms = int(time.time() * 1000)
        offsets = {
            age_ms: offsets_at(self._settings, [raw], max(now_ms - age_ms + CLOCKS_MS, 0))[raw]
            for age_ms in set(kept_ms.values())
            if age_ms is not None
        }
        return {topic: end if age_ms is None else offsets[age_ms] for topic, age_ms in kept_ms.items()}


def _typed_value(routing: Routing, nothing: DuplicateWindow, value: bytes | None) -> bytes | None:
    """Return the typed value of a raw value. Raises InvalidEvent."""
    return routing.type(value, b"", nothing)[1]


_auditor: list[Auditor] = []  # the one of this pool process


def _begin(settings: Settings, deep: bool) -> None:  # noqa: FBT001 (a process's arguments have no names)
    configure_logging(settings, "ledger")
    _auditor.append(Auditor(settings, deep=deep))
    collect_rarely()


def _audit(judged: Range) -> Verdict:
    return _auditor[0].audit(judged)
