"""Where a worker's own time goes: each pure stage alone, on the corpus, without Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from bench.cluster import Pipeline
from bench.corpus import Corpus
from broker_events.ingest.raw_record import to_raw
from broker_events.ingest.sources.source import Received
from broker_events.processors.routing import Routing
from broker_events.processors.rules import PROJECTIONS, RecordOrigin
from broker_events.processors.rules.outcome import Projected
from broker_events.runtime.events.duplicate_window import duplicate_window
from broker_events.runtime.events.event_reader import EventReader, Readable
from broker_events.schemas.codec import Codec

_EVENTS: Final = 50_000
_REPEATS: Final = 3


def stage_costs(pipeline: Pipeline, corpus: Corpus) -> dict[str, dict[str, float]]:
    """CPU microseconds an event by stage of bridge, router and projector: best of three, in the corpus's mix."""
    events = corpus.events[:_EVENTS]
    count = len(events)
    catalog, ids = pipeline.catalog, pipeline.schema_ids
    contracts = {biz_type: (contract, contract.topics[0].name) for biz_type, contract in catalog.events.items()}
    routing = Routing(catalog.events, ids, pipeline.settings.topic, pipeline.settings.max_message_bytes)
    reader = EventReader(Readable(contract, ids[topic], biz_type) for biz_type, (contract, topic) in contracts.items())
    received = [Received(event.value, 0) for event in events]

    def restore_window() -> None:
        window = duplicate_window(pipeline.settings.duplicate_window)
        for event in events:
            event_id, body = routing.identity(event.value)
            if window.body(event_id) is None:
                window.remember(event_id, body)

    def route() -> None:
        window = duplicate_window(pipeline.settings.duplicate_window)
        _exhaust(routing.type(event.value, b"key", window) for event in events)

    costs = {
        "bridge": {
            "envelope, key and headers": _cost(count, lambda: _exhaust(to_raw(one, "grpc") for one in received))
        },
        "router": {
            "JSON to Avro": _cost(count, lambda: _exhaust(reader.read(event.value) for event in events)),
            "restoring a window": _cost(count, restore_window),
            "together, with the route": _cost(count, route),
        },
    }
    codecs: dict[str, Codec[Any]] = {
        biz_type: Codec(contract, ids[topic]) for biz_type, (contract, topic) in contracts.items()
    }
    tables: dict[str, Codec[Any]] = {
        name: Codec(catalog.topics[name][0], ids[name]) for name in ("state.accounts", "state.movements")
    }
    decoded = [(event.biz_type, event.key, codecs[event.biz_type].decode(event.typed)) for event in events]
    projected = [(PROJECTIONS[biz_type], key, event) for biz_type, key, event in decoded]
    before: list[tuple[Codec[Any], bytes]] = []
    after: list[tuple[Codec[Any], Any]] = []
    origin = RecordOrigin("topic", 0, 0, received_us=1_800_000_000_000_000, max_skew_us=60_000_000)
    memory = {name: _Memory() for name in tables}
    for projection, key, event in projected:
        codec = tables[projection.topic]
        _, state, outcome, _ = memory[projection.topic].put(
            projection.apply(memory[projection.topic], event, key, origin)
        )
        if state is not None:
            before.append((codec, codec.encode(state)))
        after.append((codec, outcome.state))

    def apply_rules() -> None:
        memory = {name: _Memory() for name in tables}
        for projection, key, event in projected:
            table = memory[projection.topic]
            table.put(projection.apply(table, event, key, origin))

    costs["projector"] = {
        "decoding the event": _cost(
            count, lambda: _exhaust(codecs[event.biz_type].decode(event.typed) for event in events)
        ),
        "decoding the state (for those that have one)": _cost(count, lambda: _exhaust(c.decode(v) for c, v in before)),
        "rules, with the look-up of the state": _cost(count, apply_rules),
        "encoding the state": _cost(count, lambda: _exhaust(codec.encode(state) for codec, state in after)),
    }
    return costs


class _Memory:
    """A table of states as they are."""

    def __init__(self) -> None:
        self._states: dict[bytes, Any] = {}
        self._index: dict[bytes, bytes] = {}
        self.get, self.holder = self._states.get, self._index.get

    def __contains__(self, key: bytes) -> bool:
        return key in self._states

    def put(self, projected: Projected[Any]) -> Projected[Any]:
        key, _, outcome, link = projected
        self._states[key] = outcome.state
        if link is not None:
            self._states.update(link.others)
            self._index.update(dict.fromkeys(link.index_keys, key))
        return projected


def _cost(count: int, work: Callable[[], None]) -> float:
    best = float("inf")
    for _ in range(_REPEATS):
        began = time.thread_time()
        work()
        best = min(best, time.thread_time() - began)
    return round(best / count * 1e6, 2)


def _exhaust(values: Iterable[object]) -> None:
    for _ in values:
        pass
