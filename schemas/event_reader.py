"""From an event as pushed to its typed record, for all contracts at once: the fast way, in native code.

It gives up on whatever is unusual, right or wrong; `schemas.transcoder` is the plain way, for these and as reference.
"""

from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

from schemas.catalog import Contract
from schemas.event_plan import Holder, Kind, RecordPlan, plan_event
from schemas.frame import frame

try:
    from schemas import _native
except ImportError:  # installed without a compiler: everything goes the plain way
    _native = None  # type: ignore[assignment]

IS_NATIVE = _native is not None

L = TypeVar("L")
# Names of the envelope or an array's item, names of the payload, fields: kind, nullable, sources, plan of items.
# A source is the number of a name, the payload's counted on from the others.
_Field = tuple[str, bool, list[int], list["_Plan"]]
_Plan = tuple[list[str], list[str] | None, list[_Field]]


# The label, the event's id, its record with frame, how many members a later namesake has hidden, and whether the
# envelope has a `traceparent` (schemas.trace_context).
Found = tuple[L, str, bytes, int, bool]


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
        # As `read`, but instead of None how many of the record's first fields are known to be right. Bound, not
        # wrapped: it is called for every event.
        self.attempt: Callable[[bytes | None], Found[L] | int] = (
            _nothing_right if _native is None else _native.EventReader(routes).read
        )

    def read(self, value: bytes | None) -> Found[L] | None:
        """Read an event; `value`: the envelope's JSON text. None for whatever is not plain sailing."""
        found = self.attempt(value)
        return None if isinstance(found, int) else found


def _nothing_right(_value: bytes | None) -> int:
    return 0


def _plan(plan: RecordPlan, first: Holder = Holder.ENVELOPE) -> _Plan:
    names = sorted(plan.known[first] - {"payload"}) if first is Holder.ENVELOPE else sorted(plan.known[first])
    payload_names = sorted(plan.known[Holder.PAYLOAD]) if first is Holder.ENVELOPE else None
    places = {(first, name): place for place, name in enumerate(names)}
    places |= {(Holder.PAYLOAD, name): place for place, name in enumerate(payload_names or (), len(names))}
    fields: list[_Field] = []
    for field in plan.fields:
        kind = "EVENT_ID" if field.kind is Kind.STRING and field.is_event_id else field.kind.name
        sources = [places[source.holder, source.member] for source in field.sources]
        fields.append((kind, field.nullable, sources, [_plan(field.items, Holder.ITEM)] if field.items else []))
    return names, payload_names, fields
