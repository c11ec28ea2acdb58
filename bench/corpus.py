"""The events of a run: drawn once from the simulator's traffic, as raw and as typed records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from broker_events.devstack.simulator.event import EVENT_TYPES
from broker_events.devstack.simulator.positions import Positions
from broker_events.devstack.simulator.simulator import BASE_TIME_NS, STEP_NS
from broker_events.devstack.simulator.traffic import Traffic
from broker_events.ingest.raw_record import to_raw
from broker_events.ingest.sources.source import Received
from broker_events.runtime.events.transcoder import Transcoder
from broker_events.runtime.kafka.clients import Headers
from broker_events.schemas.catalog import Catalog

SEED: Final = 1


class CorpusEvent(NamedTuple):
    """One event as its raw record and as the typed record that it has to become."""

    key: str
    value: bytes
    headers: Headers
    biz_type: str
    typed: bytes


@dataclass(frozen=True)
class Corpus:
    """`accounts` is how many the events are drawn from; `by_biz_type` counts them."""

    accounts: int
    events: list[CorpusEvent]
    by_biz_type: Counter[str] = field(default_factory=Counter)


def draw_corpus(events: int, accounts: int, catalog: Catalog, schema_ids: Mapping[str, int]) -> Corpus:
    """Draw the simulator's mix of all twelve types; the same every time but for the registry's schema ids."""
    traffic = Traffic(SEED, accounts)
    positions = {event_type: Positions(SEED, event_type) for event_type in EVENT_TYPES}
    transcoders = {
        biz_type: Transcoder(contract, schema_ids[contract.topics[0].name])
        for biz_type, contract in catalog.events.items()
    }
    drawn: list[CorpusEvent] = []
    for sequence in range(events):
        event = traffic.next(BASE_TIME_NS + sequence * STEP_NS)
        received = Received(
            event.payload.encode(),
            (BASE_TIME_NS + sequence * STEP_NS) // 1000,
            event.event_id,
            event.event_type,
            positions[event.event_type].encode(sequence),
            event.timestamp,
        )
        raw = to_raw(received, "grpc")
        assert raw.key is not None  # noqa: S101 (the traffic's events all have an account)
        typed = transcoders[event.biz_type].encode(raw.value)
        drawn.append(CorpusEvent(raw.key, raw.value, raw.headers, event.biz_type, typed))
    return Corpus(accounts, drawn, Counter(event.biz_type for event in drawn))
