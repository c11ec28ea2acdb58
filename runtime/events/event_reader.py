"""From an event as pushed to its typed record, for all contracts at once: the fast way, in native code.

It gives up on whatever is unusual, right or wrong; `runtime.events.transcoder` is the plain way, for these and as
reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from broker_events.native import extension
from broker_events.runtime.events.duplicate_window import DuplicateWindow
from broker_events.runtime.events.event_plan import FieldKind, Holder, RecordPlan, plan_event
from broker_events.schemas.catalog import Contract
from broker_events.schemas.frame import frame

if TYPE_CHECKING:
    from broker_events.native._native import Records, Writer

L = TypeVar("L")
# Names of the envelope or an array's item, names of the payload, fields, a bit for each name that may repeat.
# A field: kind, nullable, sources, plan of items.
# A source is the number of a name, the payload's counted on from the others. Last: the most bytes of its strings.
_Field = tuple[str, bool, list[int], list["_Plan"], int | None]
_Plan = tuple[list[str], list[str] | None, list[_Field], int]


# The label, the event's id, its record with frame, how many members a later namesake has hidden, whether the envelope
# has a `traceparent` (runtime.events.trace_context), and the body's hash (runtime.events.body_hash).
ReadEvent = tuple[L, str, bytes, int, bool, int]
# The label, the record with frame or None for a known duplicate, whether the envelope has a `traceparent`.
Routed = tuple[L, bytes | None, bool]


class Readable(NamedTuple, Generic[L]):
    """A contract, its registry id, and the label by which the reader calls it."""

    contract: Contract
    schema_id: int
    label: L


class EventReader(Generic[L]):
    """Reads events of these contracts."""

    def __init__(self, readable: Iterable[Readable[L]]) -> None:
        """Raises `ContractError` for a schema that events cannot have."""
        routes = [
            (biz_type, str(one.contract.event_type), one.label, frame(one.schema_id), _plan(plan_event(one.contract)))
            for one in readable
            if (biz_type := one.contract.biz_type) is not None
        ]
        native = extension.native
        self._native = None if native is None else native.EventReader(routes)
        # Value, key, window, bytes that key and record may have together -> the record, which the window knows from
        # then on; none of a known duplicate. A number where the plain way has to judge, for whatever reason: so many of
        # the record's first fields are right. Bound, not wrapped: it is called for every event.
        self.route: Callable[[bytes | None, bytes | None, DuplicateWindow, int], Routed[L] | int] = (
            _nothing_right if self._native is None else self._native.route
        )

    def route_all(
        self, records: Records, first: int, window: DuplicateWindow, size_limit: int, writer: Writer
    ) -> tuple[int, list[int], list[int]]:
        """`route` record after record, from number `first` on, and give `writer` what comes of them.

        Returns the number of the first that the plain way has to judge, or that `writer` did not take; and by contract,
        in their order, how many were written and how many the window knew.
        """
        if self._native is None:
            raise RuntimeError("records that native code holds, and there is none")
        return self._native.route_all(records, first, window, size_limit, writer)

    @property
    def hidden(self) -> int:
        """How many members of the events that `route` has made records of were hidden by a later one of their name."""
        return 0 if self._native is None else self._native.hidden

    def read(self, value: bytes | None) -> ReadEvent[L] | None:
        """Read an event; `value`: the envelope's JSON text. None for whatever is not plain sailing."""
        return None if self._native is None else self._native.read(value)


def _nothing_right(*_event: object) -> int:
    return 0


def _plan(plan: RecordPlan, first: Holder = Holder.ENVELOPE) -> _Plan:
    names = sorted(plan.known[first] - {"payload"}) if first is Holder.ENVELOPE else sorted(plan.known[first])
    payload_names = sorted(plan.known[Holder.PAYLOAD]) if first is Holder.ENVELOPE else None
    places = {(first, name): place for place, name in enumerate(names)}
    places |= {(Holder.PAYLOAD, name): place for place, name in enumerate(payload_names or (), len(names))}
    fields: list[_Field] = []
    for field in plan.fields:
        kind = "EVENT_ID" if field.kind is FieldKind.STRING and field.is_event_id else field.kind.name
        sources = [places[source.holder, source.member] for source in field.sources]
        items = [_plan(field.items, Holder.ITEM)] if field.items else []
        fields.append((kind, field.nullable, sources, items, field.max_bytes))
    repeated = [field.sources for field in plan.fields if field.may_repeat]
    may_repeat = {places[source.holder, source.member] for sources in repeated for source in sources}
    return names, payload_names, fields, sum(1 << place for place in may_repeat)
