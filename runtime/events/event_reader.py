"""Native path from a pushed event to its typed record, for all contracts.

It declines unusual events, valid or not. `runtime.events.transcoder`, the Python path, handles those and is the
reference (ADR 0020).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from broker_events.native import extension
from broker_events.runtime.events.account_key import ACCOUNT_IDS
from broker_events.runtime.events.duplicate_window import DuplicateWindow
from broker_events.runtime.events.event_plan import FieldKind, Holder, RecordPlan, plan_event
from broker_events.schemas.catalog import Contract, ContractError
from broker_events.schemas.frame import frame

if TYPE_CHECKING:
    from broker_events.native._native import Records, Writer

L = TypeVar("L")
# Member names of the envelope or an array's item, of the payload, fields, a bit per name that may repeat.
# A field: kind, nullable, sources, plan of items, maximum bytes of its strings.
# A source is the index of a name; payload names follow the others.
_Field = tuple[str, bool, list[int], list["_Plan"], int | None]
_Plan = tuple[list[str], list[str] | None, list[_Field], int]


# The label, the event's id, its framed record, the number of overwritten repeated members, whether the envelope
# has a member of runtime.consume.record.KEPT, and the body hash (runtime.events.body_hash).
ReadEvent = tuple[L, str, bytes, int, bool, int]
# The label, the framed record or None for a duplicate, whether the envelope has a member of KEPT.
Routed = tuple[L, bytes | None, bool]


class Readable(NamedTuple, Generic[L]):
    """A contract, its schema id, and the label that the reader returns for it."""

    contract: Contract
    schema_id: int
    label: L


class EventReader(Generic[L]):
    """Reads events of these contracts."""

    def __init__(self, readable: Iterable[Readable[L]]) -> None:
        """Raises `ContractError` for a schema that events do not support."""
        routes = [
            (
                biz_type,
                str(one.contract.event_type),
                one.label,
                frame(one.schema_id),
                _plan(plan := plan_event(one.contract)),
                _account_places(one.contract, plan),
            )
            for one in readable
            if (biz_type := one.contract.biz_type) is not None
        ]
        native = extension.native
        self._native = None if native is None else native.EventReader(routes)
        # Takes value, key, window and the maximum bytes of key and record. Returns the record and adds the event to the
        # window; a duplicate has no record. Returns the number of valid leading fields if the Python path must decide.
        # Bound, not wrapped, because it runs for every event.
        self.route: Callable[[bytes | None, bytes | None, DuplicateWindow, int], Routed[L] | int] = (
            _no_valid_field if self._native is None else self._native.route
        )

    def route_all(
        self, records: Records, first: int, window: DuplicateWindow, size_limit: int, writer: Writer
    ) -> tuple[int, list[int], list[int]]:
        """Route records from index `first` on and pass the typed records to `writer`.

        Returns the index of the first record that the Python path must decide or that `writer` did not accept. Then
        returns, per contract in their order, the numbers of written records and of duplicates.
        """
        if self._native is None:
            raise RuntimeError("route_all needs the native extension, which is not installed")
        return self._native.route_all(records, first, window, size_limit, writer)

    @property
    def hidden(self) -> int:
        """Number of repeated members that a later member of the same name has overwritten in typed events."""
        return 0 if self._native is None else self._native.hidden

    def read(self, value: bytes | None) -> ReadEvent[L] | None:
        """Read an event from the envelope's JSON text. Returns None if the Python path must decide."""
        return None if self._native is None else self._native.read(value)


def _no_valid_field(*_event: object) -> int:
    return 0


def _account_places(contract: Contract, plan: RecordPlan) -> list[int]:
    """Places of the payload's members one of which an event has whose key needs no judgement."""
    members = contract.account_key or ACCOUNT_IDS
    names, payload_names, *_ = _plan(plan)
    places = [len(names) + place for place, name in enumerate(payload_names or ()) if name in members]
    if not places:
        raise ContractError(contract.folder / "contract.toml", "account_key", f"no field reads {' or '.join(members)}")
    return places


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
